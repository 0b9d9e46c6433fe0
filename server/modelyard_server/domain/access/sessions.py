"""Sessions of browsers: made for an API key, or for the owner of the data folder.

A session ends 12 hours after its last use, 30 days after its beginning, when it
is ended, or with its key. Its token is returned once and stored as a digest only.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.caller_tables import ApiKey, WebSession
from modelyard_server.db.engine import now
from modelyard_server.domain.access import keys
from modelyard_server.domain.access.principals import FOLDER_OWNER, Principal

IDLE = 12 * 3600 * 1_000_000
LIFETIME = 30 * 24 * 3600 * 1_000_000
USE_EVERY = 60 * 1_000_000
"""How old the recorded last use may be before it is recorded again. This and the limits: microseconds."""
MOST_OF_A_KEY = 100
"""Sessions of one key; a further one ends the one that was not used for longest."""
SWEEP_BATCH = 500
_TOKEN_BYTES = 32
_USER_AGENT_LENGTH = 200


class Found(NamedTuple):
    """A session that has not ended; `is_due` if its use should be recorded."""

    principal: Principal
    is_due: bool


def digest(token: str) -> bytes:
    """The stored form of a token. It differs from that of an API key with the same text."""
    return hashlib.sha256(b"web_session\0" + token.encode()).digest()


def begin(session: Session, key_digest: bytes | None, user_agent: str) -> str:
    """Makes a session and returns its token. Without a key it is the folder owner's.

    Raises KeyInvalid for a key that is unknown or revoked.
    """
    key_id = None
    if key_digest is not None:
        live = (ApiKey.hash == key_digest, ApiKey.revoked_at.is_(None))
        key_id = session.scalar(select(ApiKey.id).where(*live))
        if key_id is None:
            raise errors.KeyInvalid("the API key is unknown to this server or was revoked")
    _make_room(session, key_id)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    time = now(session)
    shown = "".join(letter for letter in user_agent if letter.isprintable())[:_USER_AGENT_LENGTH]
    session.add(
        WebSession(hash=digest(token), key_id=key_id, user_agent=shown, created_at=time, used_at=time)
    )
    return token


def find(session: Session, token_digest: bytes) -> Found | None:
    """The session with a token, if it has not ended."""
    found = session.scalar(select(WebSession).where(WebSession.hash == token_digest, ~_has_ended(session)))
    if found is None:
        return None
    owner = FOLDER_OWNER if found.key_id is None else keys.owner_of(session, found.key_id)
    return None if owner is None else Found(owner, found.used_at <= now(session) - USE_EVERY)


def use(session: Session, token_digest: bytes) -> None:
    """Records that a session is used."""
    session.execute(
        update(WebSession)
        .where(WebSession.hash == token_digest, ~_has_ended(session))
        .values(used_at=now(session))
    )


def end(session: Session, token_digest: bytes) -> None:
    """Ends a session. Ending it again changes nothing."""
    session.execute(delete(WebSession).where(WebSession.hash == token_digest))


def delete_ended(session: Session) -> int:
    """Deletes at most SWEEP_BATCH sessions that have ended; returns how many."""
    revoked = WebSession.key_id.in_(select(ApiKey.id).where(ApiKey.revoked_at.is_not(None)))
    ended = session.scalars(
        select(WebSession.hash)
        .where(or_(_has_ended(session), revoked))
        .limit(SWEEP_BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    session.execute(delete(WebSession).where(WebSession.hash.in_(ended)))
    return len(ended)


def _has_ended(session: Session) -> ColumnElement[bool]:
    time = now(session)
    return or_(WebSession.used_at <= time - IDLE, WebSession.created_at <= time - LIFETIME)


def _make_room(session: Session, key_id: str | None) -> None:
    """Ends the sessions of a key that were not used for longest, so that there is room for one more."""
    rest = session.scalars(
        select(WebSession.hash)
        .where(WebSession.key_id == key_id)
        .order_by(WebSession.used_at.desc(), WebSession.hash)
        .offset(MOST_OF_A_KEY - 1)
    ).all()
    session.execute(delete(WebSession).where(WebSession.hash.in_(rest)))
