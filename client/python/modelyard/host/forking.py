"""Forks of this process: none happens in the middle of a call, and the child starts anew.

gRPC cannot be forked while it works: the child hangs, or the parent does. So a
fork holds back new calls, waits until those that run have ended, closes the
channels and waits until gRPC's threads are gone. What does not end by itself, a
watch or a long upload, is cut and goes on by its own retries. The child forgets
the parent's connections and locks. Both sides connect when they next call.

gRPC's own support for forks is not enough: it starts its threads again in the
child, also in one that is about to become another program, where they abort the
process once their files are closed.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

WAIT_SECONDS = 1.0
"""How long a fork waits for calls to end by themselves. Most take milliseconds."""
CUT_SECONDS = 5.0
"""How long it waits for calls that it has cut."""
QUIET_SECONDS = 0.1
"""How long a fork waits for gRPC's threads to end. They stay where other code of the process uses gRPC."""
_THREADS = Path("/proc/self/task")
_GRPC_THREADS = ("event_engine", "grpc_")


class Forked(Protocol):
    """What holds connections or state that a child must not share."""

    def cut(self) -> None:
        """Before a fork: ends all connections, and with them the calls that have not ended."""

    def forget_parent(self) -> None:
        """In the child: as if it had just been made."""


_holders: weakref.WeakSet[Forked] = weakref.WeakSet()
_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_guarded = False


class _Calls:
    """The calls that run now. Threads that fork hold the others back."""

    def __init__(self) -> None:
        self.cuts = 0
        self._changed = threading.Condition()
        self._forks = 0
        self._unary = 0
        self._streams = 0
        self._depth = threading.local()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While a call is made; one inside another is part of it, and never held back."""
        depth = self._own()
        with self._changed:
            if not depth:
                self._changed.wait_for(lambda: not self._forks)
            self._unary += 1
        self._depth.now = depth + 1
        try:
            yield
        finally:
            self._depth.now = depth
            with self._changed:
                self._unary -= 1
                self._changed.notify_all()

    def stream_began(self) -> None:
        with self._changed:
            self._streams += 1

    def stream_ended(self) -> None:
        with self._changed:
            self._streams -= 1
            self._changed.notify_all()

    def pause(self) -> None:
        """Holds back new calls and returns when none runs and gRPC is at rest, or after some seconds."""
        with self._changed:
            self._forks += 1
            if self._own():  # a fork in the middle of a call: there is nothing to wait for
                return
            # Waits first: a call that is being made may be the beginning of a stream.
            if not self._await(lambda: self._unary <= 0, WAIT_SECONDS) or self._streams:
                self.cuts += 1
        # Without the lock: calls that are cut end, and need it for that.
        for holder in list(_holders):
            holder.cut()
        with self._changed:
            self._await(lambda: self._unary <= 0 and self._streams <= 0, CUT_SECONDS)
        _await_rest()

    def resume(self) -> None:
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def _own(self) -> int:
        return getattr(self._depth, "now", 0)

    def _await(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self._changed.wait(deadline - time.monotonic())
        return done()


_calls = _Calls()


def _await_rest() -> None:
    """Returns once gRPC has no thread in this process, or after a while where it keeps some."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline and _has_grpc_threads():
        time.sleep(0.001)


def _has_grpc_threads() -> bool:
    """Whether gRPC works in this process; True where that cannot be seen."""
    try:
        for thread in _THREADS.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if (thread / "comm").read_text().startswith(_GRPC_THREADS):
                    return True
    except OSError:  # not Linux
        return True
    return False


def cuts() -> int:
    """How many forks have cut calls: a call that ended meanwhile may be made again."""
    return _calls.cuts


def running() -> contextlib.AbstractContextManager[None]:
    """Held while a call is made, or a stream is begun."""
    return _calls.running()


def stream_began() -> Callable[[], None]:
    """Counts a stream; to be called once when it ends: what is returned."""
    calls = _calls  # a child does not count the streams of its parent
    calls.stream_began()
    return calls.stream_ended


def lock() -> threading.Lock:
    """A lock that is free in a forked child, whoever held it in the parent."""
    made = threading.Lock()
    _locks.add(made)
    return made


def watch(holder: Forked) -> None:
    """Has a holder take part in forks, for as long as it lives."""
    _holders.add(holder)


def guard() -> None:
    """Has forks wait for calls from now on; to be called once there is a channel.

    gRPC takes part in forks from its first channel on, and what was registered
    last comes first: calls have to end before gRPC stops its threads.
    """
    global _guarded
    if not _guarded and hasattr(os, "register_at_fork"):
        _guarded = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    _calls.pause()


def _in_parent() -> None:
    _calls.resume()


def _in_child() -> None:
    global _calls
    _calls = _Calls()
    for holder in list(_holders):
        holder.forget_parent()


def _free_locks() -> None:
    for held in list(_locks):
        held._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_locks)
