"""Makes forks safe for gRPC: none happens during a call, and the child connects again.

Forking while gRPC works makes the child or the parent hang. So a fork delays new
calls, waits until running ones have ended, closes the channels and waits until
gRPC's threads have ended. Calls that do not end soon, such as watches and long
uploads, are cancelled and retried. The child forgets the parent's connections and
locks. Both processes connect at their next call.

gRPC's own support for forks is not enough: it starts its threads again in the
child, also in one that is about to exec another program, where they abort the
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
"""Seconds that a fork waits for running calls to end. Most take milliseconds."""
CUT_SECONDS = 5.0
"""Seconds that it waits for cancelled calls to end."""
QUIET_SECONDS = 0.1
"""Seconds that a fork waits for gRPC's threads to end. They do not if other code uses gRPC."""
_THREADS = Path("/proc/self/task")
_GRPC_THREADS = ("event_engine", "grpc_")


class Forked(Protocol):
    """An object with connections or state that a child must not share."""

    def cut(self) -> None:
        """Before a fork: closes all connections and cancels running calls."""

    def forget_parent(self) -> None:
        """In the child: resets the object to its initial state."""


class Inherited(Protocol):
    """An object with state that a child must not share, and without connections."""

    def forget_parent(self) -> None:
        """In the child: resets what is the parent's."""


_holders: weakref.WeakSet[Forked] = weakref.WeakSet()
_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()
_states: weakref.WeakSet[Inherited] = weakref.WeakSet()
_guarded = False


class _Calls:
    """Counts running calls, and delays new ones during a fork."""

    def __init__(self) -> None:
        self.cuts = 0
        self._changed = threading.Condition()
        self._forks = 0
        self._unary = 0
        self._streams = 0
        self._depth = threading.local()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Context of a call. A nested call belongs to the outer one and is never delayed."""
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
        """Delays new calls; returns when none runs and gRPC has no threads, or after some seconds."""
        with self._changed:
            self._forks += 1
            if self._own():  # a fork during a call of the same thread: there is nothing to wait for
                return
            # Wait first: a call that is starting may begin a stream.
            if not self._await(lambda: self._unary <= 0, WAIT_SECONDS) or self._streams:
                self.cuts += 1
        # Without the lock, which cancelled calls need in order to end.
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
    """Waits until gRPC has no thread in this process, for a limited time."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline and _has_grpc_threads():
        time.sleep(0.001)


def _has_grpc_threads() -> bool:
    """Whether gRPC has threads in this process; True if unknown."""
    try:
        for thread in _THREADS.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                if (thread / "comm").read_text().startswith(_GRPC_THREADS):
                    return True
    except OSError:  # not Linux
        return True
    return False


def cuts() -> int:
    """How many forks have cancelled calls: a call that was cancelled by one may be retried."""
    return _calls.cuts


def running() -> contextlib.AbstractContextManager[None]:
    """A context in which a call is made or a stream is opened."""
    return _calls.running()


def stream_began() -> Callable[[], None]:
    """Counts a stream; returns the function to call when it ends."""
    calls = _calls  # in a child, the streams of its parent do not count
    calls.stream_began()
    return calls.stream_ended


def lock() -> threading.Lock:
    """A lock that is released in a forked child."""
    made = threading.Lock()
    _locks.add(made)
    return made


def watch(holder: Forked) -> None:
    """Registers a holder for forks, by a weak reference."""
    _holders.add(holder)


def inherit(state: Inherited) -> None:
    """Registers an object for resets in children, by a weak reference. It works before `guard`, too."""
    _states.add(state)


def guard() -> None:
    """Makes forks wait for calls from now on; to be called after the first channel was opened.

    gRPC registers its own fork handlers with its first channel. Handlers run in
    reverse order of registration, and calls have to end before gRPC stops its threads.
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


def _reset_child() -> None:
    for held in list(_locks):
        held._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its own
    for state in list(_states):
        state.forget_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_child)
