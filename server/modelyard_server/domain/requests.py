"""Idempotent writes: the reply is stored in the transaction that has the effect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.limits import NAME_LENGTH
from modelyard_server.db.caller_tables import Request
from modelyard_server.db.engine import now
from modelyard_server.db.upserts import inserting_missing
from modelyard_server.domain import fields
from modelyard_server.domain.access.authorize import Action, Resource, authorize, entered, reach
from modelyard_server.domain.access.principals import Principal

KEPT = 7 * 24 * 3600 * 1_000_000
"""Microseconds for which a repeated request gets the stored reply."""
SWEEP_BATCH = 500

# Built once: building a statement takes longer than running it.
_TABLE: Any = Request.__table__
_SAME = [_TABLE.c[name] == bindparam(f"of_{name}") for name in ("principal_id", "method", "request_id")]
_STORED = select(_TABLE.c.content_hash, _TABLE.c.reply, _TABLE.c.entities).where(*_SAME)
_REPLY = update(_TABLE).where(*_SAME).values(reply=bindparam("new_reply"), entities=bindparam("new_entities"))


def begin(
    session: Session, principal: Principal, method: str, request_id: str, content_hash: bytes
) -> bytes | None:
    """The stored reply of this request, or None after inserting its row: the first lock of a transaction.

    Of two concurrent requests the second waits for the row of the first, and finds its
    reply. Raises RequestIdReused, NotAllowed, InvalidField.
    """
    fields.check("request_id", refs.check_text, request_id, limit=NAME_LENGTH)
    taken = session.connection().execute(
        inserting_missing(session, Request),
        {
            "principal_id": principal.id,
            "method": method,
            "request_id": request_id,
            "content_hash": content_hash,
            "created_at": now(session),
        },
        execution_options={"preserve_rowcount": True},
    )
    if taken.rowcount == 1:
        return None
    found = stored(session, principal, method, request_id, content_hash)
    if found is None:
        raise errors.RetryTransaction("the stored reply of this request was just deleted; repeat the call")
    return found


def stored(
    session: Session, principal: Principal, method: str, request_id: str, content_hash: bytes
) -> bytes | None:
    """The reply if the request took effect. Raises RequestIdReused, NotAllowed, InvalidField."""
    fields.check("request_id", refs.check_text, request_id, limit=NAME_LENGTH)
    row = session.execute(_STORED, _named(principal, method, request_id)).one_or_none()
    if row is None:
        return None
    if row.content_hash != content_hash:
        raise errors.RequestIdReused(
            f"request_id {request_id!r} was used before with other content",
            violations=[("request_id", "was used before with other content")],
        )
    # Another key of the same principal may have fewer rights than the one of the first request.
    known: list[str] | None = row.entities
    if known is None:
        allowed = reach(principal) is None
    else:
        allowed = all(authorize(session, principal, Action.READ, Resource(entity)) for entity in known)
    if not allowed:
        raise errors.NotAllowed(
            "the request with this request_id was made in an entity that this key may not access"
        )
    reply: bytes | None = row.reply
    return reply


def finish(session: Session, principal: Principal, method: str, request_id: str, reply: bytes) -> None:
    """Stores the reply for retries, with the entities that the transaction entered."""
    named = _named(principal, method, request_id)
    session.execute(_REPLY, {**named, "new_reply": reply, "new_entities": entered(session)})


def delete_old(session: Session) -> int:
    """Deletes at most 500 requests older than seven days; returns how many."""
    key = (Request.principal_id, Request.method, Request.request_id)
    old = select(*key).where(Request.created_at < now(session) - KEPT).order_by(Request.created_at)
    found = session.execute(old.limit(SWEEP_BATCH).with_for_update(skip_locked=True)).all()
    if found:
        session.execute(delete(Request).where(tuple_(*key).in_([tuple(row) for row in found])))
    return len(found)


def _named(principal: Principal, method: str, request_id: str) -> dict[str, str]:
    return {"of_principal_id": principal.id, "of_method": method, "of_request_id": request_id}
