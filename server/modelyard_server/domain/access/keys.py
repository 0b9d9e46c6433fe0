"""API keys: printed once when they are created, stored as SHA-256 only."""

from __future__ import annotations

import hashlib
import re
import secrets
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.caller_tables import ApiKey, PrincipalRow
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Entity
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import SERVER, Principal

PREFIX = "my_"
_RANDOM_BYTES = 30  # 40 characters
_GIVEN = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{32,128}")


class OwnedKey(NamedTuple):
    """A key and its principal."""

    key: ApiKey
    principal: Principal


def create(session: Session, name: str, entity: str, *, all_entities: bool = False) -> tuple[OwnedKey, str]:
    """Creates a key; returns it and its text, which is not stored. Raises InvalidField.

    Keys of one name in one entity belong to one principal, which the first key creates.
    The same name in another entity is another principal.
    """
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
) -> tuple[OwnedKey, bool]:
    """Stores a key with a given text; returns it, and whether it is new.

    The text is `my_` and 32 to 128 of `A-Za-z0-9_-`. With `if_absent` an existing equal
    key is returned unchanged. Raises InvalidField; AlreadyExists, also if the existing
    key is revoked or belongs to another principal.
    """
    if not _GIVEN.fullmatch(text):
        raise errors.InvalidField.of(
            "key", f"a key is {PREFIX} and 32 to 128 characters of A-Z, a-z, 0-9, _ and -"
        )
    found = _first(session, _owned().where(ApiKey.hash == digest(text)))
    if found is None:
        return _add(session, text, name, entity, all_entities), True
    key, owned_by = found
    same = (owned_by.name, owned_by.entity, key.all_entities) == (name, entity, all_entities)
    if if_absent and same and key.revoked_at is None:
        return found, False
    state = "was revoked" if key.revoked_at else "exists"
    raise errors.AlreadyExists(f"this key {state} already, as {key.id} for {owned_by.name}")


def _add(session: Session, text: str, name: str, entity: str, all_entities: bool) -> OwnedKey:
    fields.check("name", refs.check_owner, name, "name")
    if name == SERVER.name:
        raise errors.InvalidField.of(
            "name", f"{name!r} is reserved for the server, which records its own changes under it"
        )
    entity_id = owners.ensure_entity(session, SERVER, entity).id
    row = session.scalar(
        select(PrincipalRow).where(PrincipalRow.entity_id == entity_id, PrincipalRow.name == name)
    )
    if row is None:
        row = PrincipalRow(id=new_id(), entity_id=entity_id, name=name, created_at=now(session))
        session.add(row)
        session.flush()  # of two concurrent transactions, the second is retried and finds the row
    key = ApiKey(
        id=new_id(),
        hash=digest(text),
        principal_id=row.id,
        all_entities=all_entities,
        created_at=now(session),
    )
    session.add(key)
    session.flush()  # of two concurrent transactions, the second is retried and finds the row
    return OwnedKey(key, Principal(row.id, name, entity, all_entities))


def digest(text: str) -> bytes:
    """The stored form of a key. Keys are random, so no salt and no slow hash are needed."""
    return hashlib.sha256(text.encode()).digest()


def owner(session: Session, key_digest: bytes) -> Principal | None:
    """The principal of a key; None if it is unknown or revoked."""
    found = _first(session, _owned().where(ApiKey.hash == key_digest, ApiKey.revoked_at.is_(None)))
    return None if found is None else found.principal


def owner_of(session: Session, key_id: str) -> Principal | None:
    """The same by the key's id."""
    found = _first(session, _owned().where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)))
    return None if found is None else found.principal


def any_live(session: Session) -> bool:
    """Whether any key exists that is not revoked."""
    return bool(session.scalar(select(exists().where(ApiKey.revoked_at.is_(None)))))


def listed(session: Session) -> Sequence[OwnedKey]:
    """All keys, revoked ones too, oldest first."""
    rows = session.execute(_owned().order_by(ApiKey.created_at, ApiKey.id))
    return [_owned_key(*row) for row in rows]


def revoke(session: Session, key_id: str) -> OwnedKey:
    """Revokes a key. Revoking it again changes nothing. Raises NotFound, InvalidField."""
    try:
        parsed = str(uuid.UUID(key_id))
    except ValueError:
        raise errors.InvalidField.of("id", f"{key_id[:100]!r} is not the id of a key; see `key ls`") from None
    found = _first(session, _owned().where(ApiKey.id == parsed))
    if found is None:
        raise owners.not_found("key", key_id)
    if found.key.revoked_at is None:
        found.key.revoked_at = now(session)
    return found


def _owned() -> Select[ApiKey, str, str]:
    return (
        select(ApiKey, PrincipalRow.name, Entity.name)
        .join(PrincipalRow, PrincipalRow.id == ApiKey.principal_id)
        .join(Entity, Entity.id == PrincipalRow.entity_id)
    )


def _first(session: Session, query: Select[ApiKey, str, str]) -> OwnedKey | None:
    row = session.execute(query).one_or_none()
    return None if row is None else _owned_key(*row)


def _owned_key(key: ApiKey, name: str, entity: str) -> OwnedKey:
    return OwnedKey(key, Principal(key.principal_id, name, entity, key.all_entities))
