"""Writes that may be repeated: the reply is stored in the transaction of the effect."""

from __future__ import annotations

from sqlalchemy.orm import Session

from modelyard import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Request
from modelyard_server.domain.owners import field
from modelyard_server.domain.principals import Principal

LIMIT = 128


def begin(
    session: Session, principal: Principal, method: str, request_id: str, content_hash: bytes
) -> bytes | None:
    """The stored reply of this request, or None after taking its row: the first lock of a transaction.

    Two at once: the second waits for the first on the key, runs again, and
    finds the reply. Raises RequestIdReused, InvalidField.
    """
    found = stored(session, principal, method, request_id, content_hash)
    if found is None:
        session.add(
            Request(
                principal=principal.name,
                method=method,
                request_id=request_id,
                content_hash=content_hash,
                created_at=now(session),
            )
        )
        session.flush()
    return found


def stored(
    session: Session, principal: Principal, method: str, request_id: str, content_hash: bytes
) -> bytes | None:
    """The reply of this request, if it took effect. Raises RequestIdReused, InvalidField."""
    field("request_id", refs.check_text, request_id, limit=LIMIT)
    row = session.get(Request, (principal.name, method, request_id))
    if row is None:
        return None
    if row.content_hash != content_hash:
        raise errors.RequestIdReused(
            f"request_id {request_id!r} was used before with other content",
            violations=[("request_id", "was used before with other content")],
        )
    return row.reply


def finish(session: Session, principal: Principal, method: str, request_id: str, reply: bytes) -> None:
    """Stores the reply, so that a retry gets the same one."""
    session.get_one(Request, (principal.name, method, request_id)).reply = reply
