"""Starting the processes of a comparison: servers, and the workers that use them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.results import NotMeasured

ROOT = Path(__file__).parents[2]
_READY_SECONDS = 180.0
_STOP_SECONDS = 15.0


class ChildFailed(Exception):
    """A worker answered with a traceback, or a process ended; holds the end of what it said."""


@dataclass(frozen=True)
class Server:
    """A server that answers; `ready` is how many seconds that took from its start."""

    pid: int
    ready: float


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path],
    is_ready: Callable[[], bool],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Runs a server in `folder` until the block ends, with all the processes it starts."""
    log = folder / "log"
    start = time.perf_counter()
    process = _started(command, log, folder, environment, stdin=subprocess.DEVNULL, output=log)
    try:
        while not is_ready():
            if process.poll() is not None or time.perf_counter() - start > _READY_SECONDS:
                raise ChildFailed(f"{command[0]} does not answer: {_tail(log)}")
            time.sleep(0.02)
        yield Server(process.pid, time.perf_counter() - start)
    finally:
        _stop(process)


class Worker:
    """A process that takes orders: `python -m tests.bench.workers.<name>`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Has it do something, and waits for the answer."""
        self.send(name, **arguments)
        return self.receive()

    def send(self, name: str, /, **arguments: Any) -> None:
        """Has it do something; `receive` takes the answer."""
        assert self._process.stdin is not None
        order = json.dumps({"do": name, "arguments": arguments})
        self._process.stdin.write(order.encode() + b"\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """The answer to the last `send`. Raises ChildFailed."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"a worker ended: {_tail(self._log)}")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildFailed(answer["error"])
        return answer["result"]


@dataclass(frozen=True)
class AbsentWorker:
    """Stands for a worker of a peer that is not there."""

    reason: str

    def call(self, name: str, /, **_: Any) -> Any:
        """Raises NotMeasured."""
        raise NotMeasured(f"{name}: {self.reason}")


@contextlib.contextmanager
def working(
    python: str | Path, name: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    """A worker that runs in `folder` until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [python, "-m", f"tests.bench.workers.{name}"]
    log = folder / f"{name}.log"
    own = {"PYTHONPATH": str(ROOT), **(environment or {})}
    process = _started(command, log, folder, own, stdin=subprocess.PIPE, output=None)
    try:
        yield Worker(process, log)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        _stop(process)
        if process.stdout is not None:
            process.stdout.close()


def _started(
    command: Sequence[str | Path],
    log: Path,
    folder: Path,
    environment: Mapping[str, str] | None,
    *,
    stdin: int,
    output: Path | None,
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=said if output else subprocess.PIPE,
            stderr=said,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process; what it started and left behind is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
