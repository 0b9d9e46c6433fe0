"""Ctrl-C takes effect while the main thread waits, also if another thread of the process got the signal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys, threading
import modelyard
ready = threading.Event()
def interrupt():
    ready.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # the other thread gets the signal
{before}
ready.set()
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    os._exit(0)
"""
WAITS = {
    "for a thread": (
        "from modelyard.host import waiting\nendless = threading.Thread(target=threading.Event().wait)\n"
        "endless.daemon = True\nendless.start()",
        "waiting.join(endless)",
    ),
    "for a buffer of an upload": (
        "from modelyard.transfer.file_reader import BufferPool\npool = BufferPool(count=1)\npool.take()",
        "pool.take()",
    ),
    "for the end of a run": ("run = modelyard.init()", "modelyard.Api().run(run.path).wait_until_finished()"),
    "for a server that is away": (
        "run = modelyard.init(settings={'finish_timeout': 600})\n"
        "run._tracking._sender._turn.acquire()  # a call that hangs",
        "run.finish()",
    ),
}
"""What is done before, and what waits without end."""


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_ends_a_wait(embedded: Path, wait: str) -> None:
    code = PROGRAM.format(before=WAITS[wait][0], wait=WAITS[wait][1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr


WATCH = """
import os, signal, sys, threading, time
import modelyard
from modelyard.cli.runs import live
run = modelyard.init(settings={"x_disable_stats": True, "console": "off"})
run.log({"loss": 1})
run._send_now()
shown = threading.Event()
write = sys.stdout.write
def written(text):
    shown.set()
    return write(text)
sys.stdout.write = written
def is_waiting():
    return sys._current_frames()[threading.main_thread().ident].f_code.co_filename == live.__file__
def interrupt():
    shown.wait()
    while not all(is_waiting() for _ in range(100) if not time.sleep(0.01)):
        pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
live.follow(modelyard.Api().run(run.path), (), json=True)
print("ended", flush=True)
os._exit(0)
"""


def test_ctrl_c_ends_modelyard_run_watch(embedded: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCH], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.endswith("ended\n"), done.stderr
