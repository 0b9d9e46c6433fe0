"""Starts a part's server, waits until it answers, and always ends it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
ATTEMPTS = 5
REQUIRED = "MODELYARD_TEST_PARTS"
"""What becomes of a test that needs a part: `required` fails it without the part, `none` always skips it."""

_SET_PARENT_DEATH_SIGNAL = 1
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
# The capabilities are gone after the exec. Who is not root has none to give up, and the calls fail.
_DROP_CAPABILITIES = f"""
import ctypes, os, sys
for capability in ({_CAP_DAC_OVERRIDE}, {_CAP_DAC_READ_SEARCH}):
    ctypes.CDLL(None).prctl({_PR_CAPBSET_DROP}, capability, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
MODES_HOLD = (sys.executable, "-I", "-S", "-c", _DROP_CAPABILITIES)
"""Prefix of a command that makes file modes apply to root, too."""


class NotReady(Exception):
    """The server exited, or did not answer in time; holds the end of its log."""


def parts_folder() -> Path:
    """Where `.ci/install-parts` puts what it builds."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "modelyard-parts" / "bin"


def require(found: str | Path | None, name: str) -> Path:
    """The path of a part; skips the test where there is none."""
    if os.environ.get(REQUIRED) == "none":
        pytest.skip(f"parts are not wanted: {name}")
    if found is None or not Path(found).exists():
        missing(f"{name} is not installed; .ci/install-parts does it")
    return Path(found)


def missing(reason: str) -> NoReturn:
    """Skips the test with the reason; where all parts are required, fails it."""
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(reason)
    pytest.skip(reason)


def built(name: str) -> Path:
    """A part that was built into the parts' folder, or lies on the path."""
    own = parts_folder() / name
    return require(own if own.exists() else shutil.which(name), name)


def free_port() -> int:
    """A port of 127.0.0.1 that is free now; another process may take it first, so start-up is tried again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Callable[[int], list[str]],
    is_ready: Callable[[int], bool],
    log: Path,
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[int]:
    """Runs `command(port)` until the block ends and yields its port; `options` go to Popen."""
    with running_part(command, is_ready, log, stop_signal=stop_signal, **options) as part:
        yield part.port


@contextlib.contextmanager
def running_part(
    command: Callable[[int], list[str]],
    is_ready: Callable[[int], bool],
    log: Path,
    *,
    stop_signal: signal.Signals = signal.SIGTERM,
    **options: Any,
) -> Iterator[Part]:
    """The same for tests that kill the process and start it again."""
    part = Part(command, is_ready, log, stop_signal, options)
    try:
        for attempt in range(ATTEMPTS):
            part.port = free_port()
            try:
                part.start()
                break
            except NotReady:
                if attempt == ATTEMPTS - 1:
                    raise
                part.stop()
        yield part
    finally:
        part.stop()


class Part:
    """A server process on a port of 127.0.0.1 that can be killed and started again."""

    def __init__(
        self,
        command: Callable[[int], list[str]],
        is_ready: Callable[[int], bool],
        log: Path,
        stop_signal: signal.Signals,
        options: dict[str, Any],
    ) -> None:
        self.port = 0
        self._command = command
        self._is_ready = is_ready
        self._log = log
        self._stop_signal = stop_signal
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers. Raises NotReady."""
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command(self.port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(self._stop_signal),
                **self._options,
            )
        _wait_until_ready(self._process, functools.partial(self._is_ready, self.port), self._log)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Ends it at once and waits until it is gone."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Ends it in order; does nothing where it does not run."""
        if self._process is not None:
            _stop(self._process, self._stop_signal)


def _wait_until_ready(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotReady(f"exited with {process.returncode}: {_tail(log)}")
        if is_ready():
            return
        time.sleep(0.05)
    raise NotReady(f"no answer in {READY_SECONDS} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(stop_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def die_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that ends the process when the test run is killed. Linux only; None elsewhere."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return lambda: library.prctl(_SET_PARENT_DEATH_SIGNAL, int(stop_signal), 0, 0, 0)
