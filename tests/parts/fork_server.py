"""Python programs in processes that are forked, not started: modelyard is imported in them already.

A start of the interpreter with the server's modules costs most of a second of
processor time, a fork some milliseconds. Where the start itself, the modules
that a program loads, or its command line is what a test is about, it starts
the interpreter.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
AVAILABLE = sys.platform == "linux"
_NEEDS_A_START = re.compile(
    r"(PYTHON(?!PATH$)|LD_|GRPC_(?!VERBOSITY$|ENABLE_FORK_SUPPORT$)|MALLOC_|SSL_|LANG$|LC_)"
)
"""Variables that act when an interpreter or a library is loaded."""


class ForkedPython(subprocess.Popen[Any]):
    """`Popen([sys.executable, *arguments])` by a fork; most of Popen's options.

    `arguments` are `-m MODULE`, `-c CODE` or a script's path with what follows, and `-P` before it.
    """

    def __init__(self, arguments: Sequence[str], **options: Any) -> None:
        self._status = -1
        super().__init__([str(argument) for argument in arguments], **options)

    # The rest are the steps of Popen's that start a process and wait for it, with its own signatures.

    def _execute_child(self, arguments: list[str], *options: Any) -> None:
        cwd, env, new_session, pipes = options[4], options[5], options[20], options[9:15]
        self._status, status = os.pipe()
        try:
            request = {
                "arguments": arguments,
                "env": dict(os.environ if env is None else env),
                "cwd": os.fspath(cwd or os.getcwd()),
                "umask": _umask(),
                "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
                "new_session": new_session,
            }
            streams = [
                number if theirs == -1 else theirs
                for number, theirs in enumerate(pipes[i] for i in (0, 3, 5))
            ]
            self.pid = _zygote().fork(request, [*streams, status])
            self._child_created = True
        finally:
            os.close(status)
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # which the class's stubs leave out

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self._try_wait(os.WNOHANG)[0]:
                    self._handle_exitstatus(self._code)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self.returncode is None and not self._has_ended(wait=not wait_flags):
            return 0, 0
        if self.returncode is None:
            text = os.read(self._status, 32)
            os.close(self._status)
            self._code = (
                int(text) if text else int(signal.SIGKILL)
            )  # without an answer: the zygote was killed
        return self.pid, self._code

    def _has_ended(self, *, wait: bool) -> bool:
        asked = select.poll()  # `select.select` takes no numbers from 1,024 on
        asked.register(self._status, select.POLLIN)
        return bool(asked.poll(None if wait else 0))


def run_python(
    *arguments: str, input: str | None = None, timeout: float = 120, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """`subprocess.run([sys.executable, *arguments], capture_output=True, text=True)` by a fork."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with start_python(*arguments, **options) as process:
        try:
            out, err = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess([sys.executable, *arguments], process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def start_python(*arguments: str, **options: Any) -> subprocess.Popen[Any]:
    """A Python program, by a fork where its environment allows it; else by a start of the interpreter."""
    if AVAILABLE and not _needs_a_start(options.get("env")):
        return ForkedPython(arguments, **options)
    return subprocess.Popen([sys.executable, *arguments], **options)


def _needs_a_start(env: Mapping[str, str] | None) -> bool:
    """Whether variables differ that act when an interpreter or a library is loaded."""
    if env is None:
        env = os.environ
    names = {name for name in (*env, *_ENVIRONMENT) if _NEEDS_A_START.match(name)}
    return any(env.get(name) != _ENVIRONMENT.get(name) for name in names)


_ENVIRONMENT = dict(os.environ)
"""Of the tests when they started, and so of the zygote."""


class _Zygote:
    """The process that forks the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            paths = [str(ROOT), *filter(None, [_ENVIRONMENT.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.parts.zygote"],
                stdin=theirs,
                env=_ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths), "GRPC_ENABLE_FORK_SUPPORT": "0"},
            )
        atexit.register(self.close)

    def fork(self, request: dict[str, Any], descriptors: list[int]) -> int:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)
            reply = self._control.recv(32)
        if not reply:
            raise RuntimeError(f"the zygote ended with {self._process.wait()}")
        return int(reply)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


@functools.cache
def _zygote() -> _Zygote:
    return _Zygote()


def _umask() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    raise RuntimeError("this kernel does not tell the umask")
