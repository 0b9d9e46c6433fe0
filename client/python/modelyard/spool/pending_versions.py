"""Versions that this process is still sending in the background: lookups of their names wait for them.

So a program reads what it has logged. `address` is the server's. Names are full,
`entity/project/name`, or ids of runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from modelyard.contract import refs
from modelyard.host import forking

Wait = Callable[[], None]
"""Returns when a version is sent or refused. Errors: CommError when the server is away for long."""

_lock = forking.lock()
_waits: dict[tuple[str, str], list[Wait]] = {}
_thread = threading.local()


def add(address: str, names: Sequence[str], wait: Wait) -> None:
    """Lookups of the names call `wait` from now on."""
    with _lock:
        for name in names:
            _waits.setdefault((address, name), []).append(wait)


def remove(address: str, names: Sequence[str], wait: Wait) -> None:
    """The version is sent, or will not be."""
    with _lock:
        for key in [(address, name) for name in names]:
            left = [one for one in _waits.pop(key, ()) if one != wait]
            if left:
                _waits[key] = left


def is_pending(address: str, ref: str) -> bool:
    """Whether a version of the name of a full reference is being sent, by another thread than this one."""
    return bool(_waits) and bool(_of(address, _name(ref)))


def wait_for(address: str, ref: str) -> None:
    """Waits until no version of the name of a full reference is being sent. Errors: CommError."""
    if _waits:
        _wait_for_name(address, _name(ref))


def wait_for_run(address: str, run_id: str) -> None:
    """Waits until no version that a run made is being sent. Errors: CommError."""
    if _waits:
        _wait_for_name(address, run_id)


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """Context of the thread that sends: its own lookups do not wait."""
    _thread.sends = True
    try:
        yield
    finally:
        _thread.sends = False


def _wait_for_name(address: str, name: str) -> None:
    while waits := _of(address, name):
        for wait in waits:
            wait()


def _name(ref: str) -> str:
    return str(refs.parse(ref).without_alias())


def _of(address: str, name: str) -> list[Wait]:
    if getattr(_thread, "sends", False):
        return []
    with _lock:
        return list(_waits.get((address, name), ()))
