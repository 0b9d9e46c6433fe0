"""System calls of a process that fail or kill it, by strace."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from tests.clients.waiting import until
from tests.parts.processes import missing, require


def under(fault: str) -> Sequence[str]:
    """The front of a command line that runs the rest with a fault; see `injected`."""
    return (str(require(shutil.which("strace"), "strace")), "-f", "-o", os.devnull, *_options(fault))


@contextmanager
def injected(process: int, fault: str) -> Iterator[None]:
    """Lets system calls of a running process fail: `fsync:error=EIO`, `rename:signal=KILL:when=2`.

    strace counts the calls of each thread by itself.
    """
    program = require(shutil.which("strace"), "strace")
    command = [str(program), "-f", "-o", os.devnull, *_options(fault), "-p", str(process)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    said: list[str] = []
    reading = threading.Thread(target=_read, args=(tracer.stderr, said))
    reading.start()
    try:
        until(lambda: bool(said) or tracer.poll() is not None)
        if "attached" not in said[0]:
            missing(f"strace cannot be used here: {said[0].strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.wait()
        reading.join()
        tracer.stderr.close()


def _options(fault: str) -> Sequence[str]:
    return ("-e", f"trace={fault.partition(':')[0]}", "-e", f"inject={fault}")


def _read(stream: IO[str], said: list[str]) -> None:
    said.extend(iter(stream.readline, ""))
