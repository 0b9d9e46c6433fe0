"""`python -m tests.parts.zygote`: a process that has imported modelyard and forks children that run programs.

It takes requests as JSON with file descriptors on its standard input, a socket,
and ends when that is closed. See `tests.parts.fork_server` for the other side.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import runpy
import selectors
import signal
import socket
import sys
from typing import Any

CONTROL = 0
DESCRIPTORS = 4
"""Of each request: the standard streams, and a pipe for the exit status."""
REQUEST_BYTES = 1 << 20
_SET_PARENT_DEATH_SIGNAL = 1
_PACKAGES = ("modelyard", "modelyard_server")
_LIBRARIES = (
    "alembic.command",
    "alembic.config",
    "alembic.runtime.migration",
    "minio",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)


def load() -> None:
    """Imports what programs under test import."""
    for name in _PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith((".__main__", ".env")):  # those act when they are imported
                with contextlib.suppress(ImportError):  # of optional libraries
                    importlib.import_module(module.name)
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Children:
    """The children that run, each with the pipe that its exit status goes to."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._status: dict[int, tuple[int, int]] = {}

    def add(self, pid: int, status: int) -> None:
        descriptor = os.pidfd_open(pid)
        self._status[descriptor] = (pid, status)
        self.selector.register(descriptor, selectors.EVENT_READ)

    def report(self, descriptor: int) -> None:
        """Sends the exit status of a child that has ended."""
        pid, status = self._status.pop(descriptor)
        _, code = os.waitpid(pid, 0)
        self.selector.unregister(descriptor)
        os.close(descriptor)
        with contextlib.suppress(BrokenPipeError):
            os.write(status, str(code).encode())
        os.close(status)

    def forget(self) -> None:
        """In a child: closes what belongs to the others."""
        self.selector.close()
        for descriptor, (_, status) in self._status.items():
            os.close(descriptor)
            os.close(status)


def serve(control: socket.socket) -> dict[str, Any]:
    """Forks a child for each request. Returns in the children alone, with the request."""
    children = Children()
    children.selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in children.selector.select():
            if key.fileobj is not control:
                children.report(key.fd)
                continue
            data, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, DESCRIPTORS)
            if not data:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                children.forget()
                control.close()
                os.close(descriptors[3])
                request: dict[str, Any] = json.loads(data)
                _become(request, descriptors[:3])
                return request
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            children.add(pid, descriptors[3])
            control.send(str(pid).encode())


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Takes over what a process started by the caller would have: streams, environment, folder, limits."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["new_session"]:
        os.setsid()
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target)
    for descriptor in streams:
        if descriptor > 2:
            os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["env"])
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # as the modules set it that were loaded before
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    resource.setrlimit(resource.RLIMIT_NOFILE, tuple(request["open_files"]))
    # As the interpreter opens them, for the streams of this process.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1 if os.isatty(1) else -1)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def run(arguments: list[str], python_path: str) -> None:
    """Does what `python ARGUMENTS` does: `-m MODULE …`, `-c CODE …` or `SCRIPT …`, also after `-P`."""
    safe = arguments[0] == "-P"
    kind, *rest = arguments[1:] if safe else arguments
    before = [] if safe else [os.path.dirname(os.path.abspath(kind)) if kind[0] != "-" else os.getcwd()]
    sys.path[:0] = [*before, *(path for path in python_path.split(os.pathsep) if path)]
    if kind == "-m":
        sys.argv = ["-m", *rest[1:]]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        main = type(sys)("__main__")
        main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = main
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)  # noqa: S102  # as `python -c` does
    else:
        sys.argv = [kind, *rest]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is for the tests, which close the socket
    load()
    with socket.socket(fileno=os.dup(CONTROL)) as wire:
        job = serve(wire)
    # In a child, at the top, so that the interpreter ends as that of any program.
    run(job["arguments"], job["env"].get("PYTHONPATH", ""))
