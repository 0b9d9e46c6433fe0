"""Aliases: movable names, each on one version of an artifact or one link of a registered model.

Whoever changes aliases holds the lock of their collection, so that two changes
never interleave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from modelyard import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link
from modelyard_server.domain import events, expiry, owners
from modelyard_server.domain.principals import Principal

Target: TypeAlias = ArtifactVersion | Link

COUNT = 100
"""Aliases, or changes of aliases, in one call."""


class Change(NamedTuple):
    """One change: `version` empty removes; `expected` None is not checked, empty means nowhere."""

    alias: str
    version: str
    expected: str | None


class Position(NamedTuple):
    """Where an alias stands: the number, and the artifact's version behind it."""

    row: Alias
    number: int
    version_id: str


def check_names(field: str, names: Sequence[str]) -> list[str]:
    """At most 100 aliases that may be set, each once, sorted. Raises InvalidField."""
    if len(names) > COUNT:
        raise errors.InvalidField.of(field, f"at most {COUNT} aliases")
    for index, name in enumerate(names):
        owners.field(f"{field}[{index}]", refs.check_alias, name)
    return sorted(set(names))


def set_aliases(
    session: Session, principal: Principal, collection: Collection, target: Target, names: Sequence[str]
) -> None:
    """Sets or moves each alias to the target; those that stand there already are left as they are."""
    wanted = sorted(set(names))
    standing = _positions(session, collection, Alias.alias.in_(wanted))
    for name in wanted:
        _set(session, principal, collection, target, name, standing.get(name))


def release(session: Session, principal: Principal, collection: Collection, target: Target) -> list[str]:
    """Takes every alias off a target that is going away, and returns them.

    `latest` goes to the newest that remains, so the target has to be marked as
    deleted, and flushed, before.
    """
    column = Alias.version_id if isinstance(target, ArtifactVersion) else Alias.link_id
    standing = _positions(session, collection, column == target.id)
    for name, position in standing.items():
        successor = _newest(session, collection) if name == refs.LATEST else None
        if successor is not None:
            _set(session, principal, collection, successor, name, position)
        else:
            _remove(session, principal, collection, position)
    return list(standing)


def update(
    session: Session, principal: Principal, collection: Collection, changes: Sequence[Change]
) -> list[Position]:
    """Makes all changes or none, and returns where every alias of the collection stands then.

    Raises AliasChanged when one does not stand where it was expected, NotFound
    for a version that is not there, InvalidField.
    """
    _check_changes(changes)
    standing = _positions(session, collection, Alias.alias.in_([change.alias for change in changes]))
    for change in changes:
        if change.expected is not None:
            _expect(change.alias, change.expected, standing.get(change.alias))
    targets = _targets(session, collection, changes)
    for change in sorted(changes):
        position = standing.get(change.alias)
        if change.version:
            _set(session, principal, collection, targets[change.version], change.alias, position)
        elif position is not None:
            _remove(session, principal, collection, position)
    session.flush()
    return list(_positions(session, collection).values())


def clear(session: Session, principal: Principal, collection: Collection) -> None:
    """Removes every alias of a collection that is going away."""
    for position in _positions(session, collection).values():
        _remove(session, principal, collection, position)


def _set(
    session: Session,
    principal: Principal,
    collection: Collection,
    target: Target,
    name: str,
    position: Position | None,
) -> None:
    version_id, link_id = (target.id, None) if isinstance(target, ArtifactVersion) else (None, target.id)
    place = {"version_id": version_id, "link_id": link_id, "updated_at": now(session)}
    if position is None:
        session.add(Alias(collection_id=collection.id, alias=name, **place))
    elif (position.row.version_id, position.row.link_id) == (version_id, link_id):
        return
    else:
        for column, value in place.items():
            setattr(position.row, column, value)
    events.record(
        session,
        collection.project_id,
        "alias_added",
        principal,
        collection_id=collection.id,
        collection=collection.name,
        alias=name,
        version=f"v{target.number}",
        previous_version=f"v{position.number}" if position else "",
        version_id=target.id if isinstance(target, ArtifactVersion) else target.version_id,
    )


def _remove(session: Session, principal: Principal, collection: Collection, position: Position) -> None:
    session.delete(position.row)
    events.record(
        session,
        collection.project_id,
        "alias_removed",
        principal,
        collection_id=collection.id,
        collection=collection.name,
        alias=position.row.alias,
        version=f"v{position.number}",
        version_id=position.version_id,
    )


def _positions(
    session: Session, collection: Collection, *conditions: ColumnElement[bool]
) -> dict[str, Position]:
    """Where aliases stand now, locked, in the order of their name."""
    rows = session.execute(
        select(
            Alias,
            func.coalesce(ArtifactVersion.number, Link.number),
            func.coalesce(ArtifactVersion.id, Link.version_id),
        )
        .outerjoin(ArtifactVersion, ArtifactVersion.id == Alias.version_id)
        .outerjoin(Link, Link.id == Alias.link_id)
        .where(Alias.collection_id == collection.id, *conditions)
        .order_by(Alias.alias)
        .with_for_update(of=Alias)
        .execution_options(populate_existing=True)
    )
    return {row.alias: Position(row, number, version_id) for row, number, version_id in rows}


def _newest(session: Session, collection: Collection) -> Target | None:
    if collection.kind == "artifact":
        return session.scalar(
            select(ArtifactVersion)
            .where(ArtifactVersion.collection_id == collection.id, expiry.live(session))
            .order_by(ArtifactVersion.number.desc())
            .limit(1)
        )
    return session.scalar(
        select(Link)
        .where(Link.collection_id == collection.id, Link.deleted_at.is_(None))
        .order_by(Link.linked_at.desc(), Link.number.desc())
        .limit(1)
    )


def _check_changes(changes: Sequence[Change]) -> None:
    if not 1 <= len(changes) <= COUNT:
        raise errors.InvalidField.of("updates", f"has {len(changes)} changes; expected 1 to {COUNT}")
    seen: set[str] = set()
    for index, change in enumerate(changes):
        where = f"updates[{index}]"
        owners.field(f"{where}.alias", refs.check_alias, change.alias)
        if change.alias in seen:
            raise errors.InvalidField.of(f"{where}.alias", f"{change.alias!r} appears twice")
        seen.add(change.alias)
        for name, text in (("version", change.version), ("expected_version", change.expected)):
            if text and refs.version_number(text) is None:
                raise errors.InvalidField.of(f"{where}.{name}", f"{text[:100]!r} is not vN")


def _expect(alias: str, expected: str, position: Position | None) -> None:
    actual = f"v{position.number}" if position else ""
    if actual != expected:
        raise errors.AliasChanged(
            f"the alias {alias!r} stands on {actual or 'no version'}, not on {expected or 'none'}",
            metadata={"alias": alias, "version": actual, "expected_version": expected},
        )


def _targets(session: Session, collection: Collection, changes: Sequence[Change]) -> Mapping[str, Target]:
    names = {change.version for change in changes if change.version}
    table = ArtifactVersion if collection.kind == "artifact" else Link
    standing = expiry.live(session) if table is ArtifactVersion else Link.deleted_at.is_(None)
    found: Sequence[Any] = session.scalars(
        select(table).where(
            table.collection_id == collection.id,
            table.number.in_([refs.version_number(name) for name in sorted(names)]),
            standing,
        )
    ).all()
    targets = {f"v{row.number}": row for row in found}
    for name in sorted(names - targets.keys()):
        raise owners.not_found("version", f"{collection.name}:{name}")
    return targets
