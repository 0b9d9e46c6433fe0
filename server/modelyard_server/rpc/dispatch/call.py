"""What a handler gets besides its request.

The pipeline finds the principal and runs unary methods on the database's
threads in one transaction. Streaming methods get a
`StreamCall` and run rules between messages. Handlers catch no errors.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session

from modelyard_server.domain.access.principals import Principal

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """A unary call, inside the transaction of `session`.

    `prepared` is the result of `prepared_by`, `staged` that of `staged_by`.
    """

    session: Session
    principal: Principal
    prepared: Any = None
    staged: Any = None


def prepared_by(prepare: Callable[[Any, Any], object]) -> Callable[[F], F]:
    """Marks a unary method whose request takes long to check: `prepare(servicer, request)` does that.

    Its result becomes `Call.prepared`. For a large request it runs on another thread before the
    transaction begins, so that other writes can go on.
    """

    def marked(method: F) -> F:
        method.prepare = prepare  # type: ignore[attr-defined]  # read by the pipeline
        return method

    return marked


def staged_by(stage: Callable[[Any, Any, Any, StreamCall], Awaitable[object]]) -> Callable[[F], F]:
    """Marks a unary method that stores much: `stage(servicer, request, prepared, call)` does that ahead.

    It runs before the transaction of the method, in transactions of its own. What it
    stores must not be visible, since the method may fail after it. Its result becomes `Call.staged`.
    """

    def marked(method: F) -> F:
        method.stage = stage  # type: ignore[attr-defined]  # read by the pipeline
        return method

    return marked


class StreamCall(Protocol):
    """A streaming call: each `read` or `write` is a transaction of its own, on the database's threads.

    A write that has begun runs to its end, even when the client has disconnected.
    """

    principal: Principal

    def read(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        """Runs the rule in a reading transaction."""

    def write(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        """Runs the rule in a writing transaction."""

    def recheck(self) -> Awaitable[object]:
        """Raises KeyInvalid if the caller's key was revoked. Streams without an end call it now and then."""
