"""The exit status that a run records is that of its process, and no row is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import modelyard
from modelyard.api import PublicRun
from tests.parts.server import Factory

SECONDS = 120

START = """
import sys
from sys import exit as leave
import threading
import modelyard
run = modelyard.init(project="ends")
run.log({"a": 1})
print(run.path, flush=True)
"""

CAUGHT = """
try:
    sys.exit(7)
except SystemExit as caught:
    assert caught.code == 7
"""
THREAD = """
thread = threading.Thread(target=lambda: sys.exit(7))
thread.start()
thread.join()
"""
HOOK = """
def hook(kind, error, trace):
    print("seen by another hook", file=sys.stderr)
sys.excepthook = hook
1 / 0
"""
HOOK_OF_ONES_OWN = """
sys.excepthook = lambda *arguments: sys.exit(9)
1 / 0
"""
CONSOLE = """
import code
code.InteractiveConsole().push("1 / 0")
"""
IN_A_FUNCTION = """
def main():
    raise SystemExit(3)
if __name__ == "__main__":
    main()
"""

ENDS: dict[str, tuple[str, int, str]] = {
    "the end of the script": ("", 0, "finished"),
    "raise SystemExit": ("raise SystemExit(4)", 4, "failed"),
    "raise SystemExit without a code": ("raise SystemExit", 0, "finished"),
    "raise SystemExit with a text": ("raise SystemExit('no data')", 1, "failed"),
    "raise SystemExit in a function": (IN_A_FUNCTION, 3, "failed"),
    "sys.exit": ("sys.exit(5)", 5, "failed"),
    "sys.exit(0)": ("sys.exit(0)", 0, "finished"),
    "a code beyond a byte": ("sys.exit(256)", 0, "finished"),
    "a negative code": ("sys.exit(-1)", 255, "failed"),
    "exit": ("exit(6)", 6, "failed"),
    "exit, imported before init": ("leave(8)", 8, "failed"),
    "an exception": ("1 / 0", 1, "failed"),
    "an exception and a hook that was replaced": (HOOK, 1, "failed"),
    "an exception and a hook that exits": (HOOK_OF_ONES_OWN, 9, "failed"),
    "an exit that was caught": (CAUGHT, 0, "finished"),
    "an exit that was caught, then an exception": (CAUGHT + "1 / 0", 1, "failed"),
    "an exit of a thread": (THREAD, 0, "finished"),
    "an exception in a console": (CONSOLE, 0, "finished"),
    "an exit in the block": ("with run:\n    sys.exit(0)", 0, "finished"),
    "an exit with a code in the block": ("with run:\n    raise SystemExit(2)", 2, "failed"),
    "an exit with a text in the block": ("with run:\n    sys.exit('no data')", 1, "failed"),
}


def _stored(path: str) -> PublicRun:
    return modelyard.Api().run(path)


@pytest.mark.parametrize("how", ENDS)
def test_a_run_ends_with_what_its_process_ended_with(embedded: Path, how: str) -> None:
    script, code, state = ENDS[how]
    done = subprocess.run(
        [sys.executable, "-c", START + script], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == code, done.stderr
    run = _stored(done.stdout.split()[0])
    assert (run.state, run._record.exit_code) == (state, code)
    assert [row["a"] for row in run.scan_history()] == [1]


def test_a_module_that_is_run_by_its_name_ends_with_its_code(embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "trains.py").write_text(START + "raise SystemExit(4)\n")
    done = subprocess.run(
        [sys.executable, "-m", "trains"], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    run = _stored(done.stdout.split()[0])
    assert (done.returncode, run.state, run._record.exit_code) == (4, "failed", 4)


HEARD = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
"""SIGHUP is not ignored, also below `nohup`."""


def _started(script: str, env: Mapping[str, str] | None = None) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


ASLEEP = """
import time
while True:  # a signal just before a sleep begins is handled after it only
    time.sleep(0.1)
"""
WAITING = """
while not threading.Event().wait(0.1):  # as above
    pass
"""
BUSY = """
for step in range(2, 4000):
    run.log({"a": step})
print("logged", flush=True)
"""
KILLED = {
    "asleep": "print('logged', flush=True)\n" + ASLEEP,
    "with rows that nobody sent yet": BUSY + ASLEEP,
    "while it logs": BUSY + "while True:\n    run.log({'b': 1})",
    "while it waits for a thread": "print('logged', flush=True)\n" + WAITING,
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", KILLED)
def test_a_signal_that_ends_a_run_loses_no_row(embedded: Path, when: str, number: signal.Signals) -> None:
    process, path = _started(HEARD + START + KILLED[when])
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == -number, said
    run = _stored(path)
    assert (run.state, run._record.exit_code) == ("killed", 128 + number)
    rows = [row["a"] for row in run.scan_history(keys=["a"])]
    assert rows == list(range(1, 4000 if "range" in KILLED[when] else 2))


def test_a_signal_while_a_run_finishes_waits_for_its_end(embedded: Path) -> None:
    process, path = _started(START + BUSY + "run.finish()\nprint('done')\n" + ASLEEP)
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGTERM
    assert _stored(path).state in {"finished", "killed"}
    assert len(list(_stored(path).scan_history())) == 3999


def test_ctrl_c_fails_the_run(embedded: Path) -> None:
    process, path = _started(START + ASLEEP)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    run = _stored(path)
    assert (run.state, run._record.exit_code) == ("failed", 255)


HANDLER_BEFORE = """
import os, signal, time
asked = []
signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
"""
GOES_ON = """
while not asked:
    time.sleep(0.01)
run.log({"a": 2})
run.finish()
assert signal.getsignal(signal.SIGTERM).__name__ == "<lambda>"
"""


def test_an_earlier_handler_is_called_and_the_run_may_continue(embedded: Path) -> None:
    process, path = _started(HANDLER_BEFORE + START + GOES_ON)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    run = _stored(path)
    assert run.state == "finished"
    assert [row["a"] for row in run.scan_history()] == [1, 2]


def test_a_handler_that_ends_the_process_at_once_loses_no_row(embedded: Path) -> None:
    before = "import os, signal\nsignal.signal(signal.SIGTERM, lambda number, frame: os._exit(3))\n"
    process, path = _started(before + START + BUSY + ASLEEP)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == 3
    assert len(list(_stored(path).scan_history())) == 3999


def test_a_handler_that_is_set_later_stays(embedded: Path) -> None:
    later = """
import signal
signal.signal(signal.SIGTERM, lambda number, frame: leave(6))
print("set", flush=True)
"""
    process, path = _started(START + later + ASLEEP)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    run = _stored(path)
    assert (process.returncode, run.state, run._record.exit_code) == (6, "failed", 6)


CHAINED = """
import signal
before = signal.getsignal(signal.SIGTERM)
def clean_up(number, frame):
    print("cleaned up", flush=True)
    before(number, frame)
signal.signal(signal.SIGTERM, clean_up)
run.finish()
run = modelyard.init(project="ends")
run.log({"a": 1})
print(run.path, flush=True)
"""


def test_a_handler_that_calls_the_one_before_it_is_called_once(embedded: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"{START}{CHAINED}{ASLEEP}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    _, path = process.stdout.readline(), process.stdout.readline().strip()
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "cleaned up\n"
    assert process.wait(SECONDS) == -signal.SIGTERM
    process.stdout.close()
    stored = modelyard.Api().run(path)
    assert (stored.state, stored.lastHistoryStep) == ("killed", 0)


def test_a_signal_that_was_ignored_stays_ignored(embedded: Path) -> None:
    before = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process, path = _started(before + START + "import time\ntime.sleep(0.5)")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=SECONDS)
    assert (process.returncode, _stored(path).state) == (0, "finished")


def test_an_unreachable_server_does_not_delay_a_signal(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory().start()
    environment = {
        **os.environ,
        "MODELYARD_URL": server.url,
        "MODELYARD_API_KEY": server.token,
        "MODELYARD_DIR": str(tmp_path),
    }
    script = START + "run._tracking.flush()\nprint('sent', flush=True)\n" + ASLEEP
    process, _ = _started(script, env=environment)
    assert process.stdout is not None
    process.stdout.readline()
    server.kill()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGTERM
    assert time.monotonic() - started < 50, "it did not try for as long as a call is repeated"
