"""Passes on what Python code writes to sys.stdout and sys.stderr.

The streams stay the objects they are: their methods are wrapped, so that terminals,
encodings, notebooks and tools that keep a reference work as before. What other
programs and compiled code write to the same terminal does not pass here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from types import CodeType
from typing import Any

NAMES = ("stdout", "stderr")
Heard = Callable[[str, str], None]
"""Takes the name of the stream and the text.

It is called by any thread, also in the middle of itself by a signal handler: it must not lock.
"""

_listeners: dict[str, tuple[Heard, ...]] = dict.fromkeys(NAMES, ())
_wrapped: list[_Stream] = []


def listen(heard: Heard, names: Collection[str] = NAMES) -> None:
    """Calls `heard` with everything that is written to some streams from now on, after it was written."""
    known = [one.stream for one in _wrapped]
    for name in names:
        _listeners[name] = (*_listeners[name], heard)
        stream = getattr(sys, name)
        if stream is not None and not any(stream is one for one in known):
            with suppress(AttributeError, TypeError):  # a stream whose methods cannot be set
                _wrapped.append(_Stream(name, stream))


def leave(heard: Heard) -> None:
    """Ends `listen`. With the last listener the streams get their own methods back."""
    for name in NAMES:
        _listeners[name] = tuple(one for one in _listeners[name] if one != heard)
    if not any(_listeners.values()):
        _wrapped[:] = [one for one in _wrapped if not one.unwrap()]


class _Stream:
    """One stream whose methods are wrapped. Bytes written to its buffer are heard too, each once."""

    def __init__(self, name: str, stream: Any) -> None:
        self.stream = stream
        self._set: list[tuple[Any, str, Any, Any]] = []
        """Object, attribute, the value that is set, and the one that was in its __dict__ before."""
        try:
            write = _heard_write(name, stream.write)
            self._replace(stream, "write", write)
            buffer = getattr(stream, "buffer", None)
            if buffer is not None:
                # The text layer writes to the buffer, now or at a flush: that must not be heard again.
                flush = _plain(stream.flush)
                own = frozenset((write.__code__, flush.__code__))
                self._replace(stream, "flush", flush)
                self._replace(buffer, "write", _heard_bytes(name, buffer.write, own))
        except BaseException:
            self.unwrap()
            raise

    def unwrap(self) -> bool:
        """Puts the methods back; False where another tool has wrapped one since, which calls ours."""
        if any(vars(holder).get(name) is not method for holder, name, method, _ in self._set):
            return False
        for holder, name, _, before in reversed(self._set):
            if before is None:
                delattr(holder, name)
            else:
                setattr(holder, name, before)
        self._set = []
        return True

    def _replace(self, holder: Any, name: str, method: Any) -> None:
        before = vars(holder).get(name)
        setattr(holder, name, method)
        self._set.append((holder, name, method, before))


def _heard_write(name: str, write: Callable[..., Any]) -> Any:
    def heard_write(text: Any, *more: Any) -> Any:
        result = write(text, *more)
        for heard in _listeners[name]:
            heard(name, text)
        return result

    return heard_write


def _plain(flush: Callable[[], Any]) -> Any:
    def plain_flush() -> Any:
        return flush()

    return plain_flush


def _heard_bytes(name: str, write: Callable[..., Any], own: Collection[CodeType]) -> Any:
    def heard_bytes(data: Any, *more: Any) -> Any:
        if not _listeners[name] or sys._getframe(1).f_code in own:
            return write(data, *more)
        text = bytes(data).decode("utf-8", "replace")  # first: the caller may use the memory again
        result = write(data, *more)
        for heard in _listeners[name]:
            heard(name, text)
        return result

    return heard_bytes
