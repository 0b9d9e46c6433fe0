"""Several server processes on one port: a parent that starts, restarts and stops them.

The parent serves no calls. It reserves the port, so that every worker binds
the same one; the kernel spreads new connections over the workers.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from modelyard.contract.streams import say
from modelyard_server.settings import SERVES, WAITS, Settings, StartError, serves_line

log = logging.getLogger(__name__)

VARIABLE = "MODELYARD_WORKER"
"""Set in a worker's environment: the parent's process id."""
READY_SECONDS = 60.0
_RESTART_SECONDS = 1.0
_POLL_SECONDS = 0.1
_SET_PARENT_DEATH_SIGNAL = 1


def is_worker() -> bool:
    """Whether this process is a worker. A worker ends when its parent does. Raises StartError."""
    parent = os.environ.get(VARIABLE)
    if parent is None:
        return False
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != int(parent):
        raise StartError("the server that started this worker has ended")
    return True


def supervise(settings: Settings) -> None:
    """Runs `settings.workers` workers until SIGTERM or SIGINT, then drains them. Raises StartError."""
    stopping = threading.Event()
    signals: list[int] = []

    workers: list[_Worker] = []

    def on_signal(number: int, _frame: object) -> None:
        signals.append(number)
        stopping.set()
        for worker in workers:
            if not worker.is_ready:  # it may be waiting for the database without a time limit
                worker.send(signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_reserved_port(settings.host, settings.port))
        settings = _with_web_port(settings, stack)
        workers += [_Worker(_of_worker(settings, port, number)) for number in range(settings.workers)]
        try:
            _start_all(workers, stopping)
            while not stopping.wait(_POLL_SECONDS):
                for worker in workers:
                    worker.revive()
        finally:
            _stop_all(workers, settings.drain_seconds, signals)


class _Worker:
    """A worker process, and its successors when it dies."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._process = self._spawn()
        self._revive_at = 0.0
        self.is_ready = False

    def wait_until_ready(self, deadline: float) -> bool:
        """Whether the worker printed that it serves, before it ended or the deadline passed.

        The deadline is dropped for a worker that prints that it waits for the database or the store.
        """
        assert self._process.stdout is not None
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._process.kill)
        timer.start()
        try:
            for line in self._process.stdout:
                if line.startswith(SERVES.encode()):
                    self.is_ready = True
                    return True
                if line.startswith(WAITS.encode()):
                    timer.cancel()
                say(line.decode().rstrip("\n"))
            return False
        finally:
            timer.cancel()

    def revive(self) -> None:
        """Starts the worker again if it has ended, at most once a second."""
        if self._process.poll() is None:
            return
        if not self._revive_at:
            log.error("a worker ended with exit code %s and is started again", self._process.returncode)
            self._revive_at = time.monotonic() + _RESTART_SECONDS
        elif time.monotonic() >= self._revive_at:
            self._close()
            self._process, self._revive_at = self._spawn(), 0.0

    def send(self, number: int) -> None:
        """Sends the worker a signal."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def ended_by(self, deadline: float) -> bool:
        """Whether the worker ends before the deadline."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kills the worker and closes its pipe."""
        self.send(signal.SIGKILL)
        self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Settings go by the environment: arguments can be read by every user of the machine.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "modelyard_server", "start"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=os.environ | environment_of(self.settings) | {VARIABLE: str(os.getpid())},
        )


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment variables that make `start` use these settings."""
    location = settings.location
    found: dict[str, object] = {"database": location.database, "store": location.store}
    found |= {field.name: getattr(settings, field.name) for field in fields(settings)}
    del found["location"], found["drain_seconds"]
    return {
        f"MODELYARD_SERVER_{name.upper()}": " ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in found.items()
        if value is not None and value is not False and value != "" and value != ()
    }


def _of_worker(settings: Settings, port: int, number: int) -> Settings:
    metrics_port = None if settings.metrics_port is None else settings.metrics_port + number
    return replace(settings, port=port, metrics_port=metrics_port)


def _start_all(workers: Sequence[_Worker], stopping: threading.Event) -> None:
    deadline = time.monotonic() + READY_SECONDS
    settings = workers[0].settings
    for worker in workers:
        if not worker.wait_until_ready(deadline) and not stopping.is_set():
            raise StartError("a worker did not start; its log lines above say why")
    if not stopping.is_set():
        say(serves_line(settings, settings.address(settings.port), settings.web_port))


def _stop_all(workers: Sequence[_Worker], drain_seconds: float, signals: Sequence[int]) -> None:
    for worker in workers:
        worker.send(signal.SIGTERM)
    deadline = time.monotonic() + drain_seconds + 5.0
    # A second signal ends the workers at once.
    while len(signals) < 2 and not all(worker.ended_by(0.0) for worker in workers):
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)
    for worker in workers:
        worker.kill()


def _with_web_port(settings: Settings, stack: contextlib.ExitStack) -> Settings:
    """The settings with the HTTP port that all workers share. A default one that is taken is a warning."""
    wanted = settings.default_web_port if settings.web_port is None else settings.web_port
    if wanted is None:
        return settings
    try:
        return replace(settings, web_port=stack.enter_context(_reserved_port(settings.host, wanted)))
    except StartError as error:
        if settings.web_port is not None:
            raise
        log.warning("%s; without it the page is not served", error)
        return replace(settings, no_web=True)


@contextlib.contextmanager
def _reserved_port(host: str, port: int) -> Iterator[int]:
    """Binds a port that all workers share, without listening, so that no other process can take it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind((host.strip("[]"), port))
        except OSError as error:
            raise StartError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        yield held.getsockname()[1]
