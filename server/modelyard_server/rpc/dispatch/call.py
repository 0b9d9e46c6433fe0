"""What a handler is given besides its request.

The interceptor finds the principal, checks the permission, and runs plain
methods on the thread pool in one transaction; streams get a `StreamCall` and
call rules between messages. Handlers hold no try/except.
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
    """A unary call: the method runs inside the transaction of `session`; `prepared` as in `prepared_by`."""

    session: Session
    principal: Principal
    prepared: Any = None


def prepared_by(prepare: Callable[[Any, Any], object]) -> Callable[[F], F]:
    """Marks a unary method whose request may take long to check: `prepare(servicer, request)` does that.

    Its result is the call's `prepared`. For large requests it runs on a thread of its own before the
    transaction begins, so that others write meanwhile.
    """

    def marked(method: F) -> F:
        method.prepare = prepare  # type: ignore[attr-defined]  # read by the interceptor
        return method

    return marked


class StreamCall(Protocol):
    """A streaming call: each `read` or `write` is a transaction of its own, on the thread pool.

    A write that has begun is finished even when the client is gone.
    """

    principal: Principal

    def read(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        """Runs the rule in a reading transaction."""

    def write(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        """Runs the rule in a writing transaction."""

    def recheck(self) -> Awaitable[object]:
        """For streams without an end: raises KeyInvalid once the caller's key was revoked."""
