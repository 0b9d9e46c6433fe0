"""API keys: shown once when they are made, kept as SHA-256 only."""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from modelyard import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import ApiKey
from modelyard_server.domain import owners
from modelyard_server.domain.principals import SERVER, Principal

PREFIX = "my_"
_RANDOM_BYTES = 30  # 40 characters
_GIVEN = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{32,128}")


def create(session: Session, name: str, entity: str, *, all_entities: bool = False) -> tuple[ApiKey, str]:
    """A new key and its text, which is nowhere else. Raises InvalidField."""
    text = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    return _add(session, text, name, entity, all_entities), text


def adopt(
    session: Session,
    text: str,
    name: str,
    entity: str,
    *,
    all_entities: bool = False,
    if_absent: bool = False,
) -> tuple[ApiKey, bool]:
    """A key whose text somebody else chose, and whether it is new: `my_` and 32 to 128 of `A-Za-z0-9_-`.

    With `if_absent`, the same key made earlier is returned as it is.
    Raises InvalidField; AlreadyExists also where the earlier one was revoked or is somebody else's.
    """
    if not _GIVEN.fullmatch(text):
        raise errors.InvalidField.of(
            "key", f"a key is {PREFIX} and 32 to 128 characters of A-Z, a-z, 0-9, _ and -"
        )
    found = session.scalar(select(ApiKey).where(ApiKey.hash == digest(text)))
    if found is None:
        return _add(session, text, name, entity, all_entities), True
    same = (found.principal, found.entity, found.all_entities) == (name, entity, all_entities)
    if if_absent and same and found.revoked_at is None:
        return found, False
    state = "was revoked" if found.revoked_at else "exists"
    raise errors.AlreadyExists(f"this key {state} already, as {found.id} for {found.principal}")


def _add(session: Session, text: str, name: str, entity: str, all_entities: bool) -> ApiKey:
    owners.field("name", refs.check_owner, name, "name")
    if name == SERVER.name:
        raise errors.InvalidField.of(
            "name", f"{name!r} is the server's own, in events of what it does by itself"
        )
    owners.ensure_entity(session, Principal(name, entity), entity)
    key = ApiKey(
        id=new_id(),
        hash=digest(text),
        principal=name,
        entity=entity,
        all_entities=all_entities,
        created_at=now(session),
    )
    session.add(key)
    session.flush()  # the same text made at once: the second runs its transaction again and finds it
    return key


def digest(text: str) -> bytes:
    """What is kept of a key. It is random, so no salt and no slow hash are needed."""
    return hashlib.sha256(text.encode()).digest()


def owner(session: Session, key_digest: bytes) -> Principal | None:
    """Whose key this is; None when it is unknown or revoked."""
    key = session.scalar(select(ApiKey).where(ApiKey.hash == key_digest, ApiKey.revoked_at.is_(None)))
    return None if key is None else Principal(key.principal, key.entity, key.all_entities)


def any_live(session: Session) -> bool:
    """Whether there is a key that was not revoked."""
    return bool(session.scalar(select(exists().where(ApiKey.revoked_at.is_(None)))))


def listed(session: Session) -> Sequence[ApiKey]:
    """All keys, revoked ones too, oldest first."""
    return session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)).all()


def revoke(session: Session, key_id: str) -> ApiKey:
    """Ends a key; one that has ended already stays as it is. Raises NotFound, InvalidField."""
    try:
        parsed = str(uuid.UUID(key_id))
    except ValueError:
        raise errors.InvalidField.of("id", f"{key_id[:100]!r} is not the id of a key; see `key ls`") from None
    key = session.get(ApiKey, parsed)
    if key is None:
        raise owners.not_found("key", key_id)
    if key.revoked_at is None:
        key.revoked_at = now(session)
    return key
