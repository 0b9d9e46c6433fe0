"""Aliases: movable names, each of one version of an artifact or one link of a registered model.

Every change of aliases is made here, under a lock of their collection, so that
changes do not interleave. Moving an alias is frequent: plain statements, built
once, are several times as fast as objects of the ORM.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from sqlalchemy import Table, bindparam, func, null, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link, Project
from modelyard_server.domain import events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import versions

Target: TypeAlias = ArtifactVersion | Link

CHANGE_LIMIT = 100
"""The most aliases, or changes of aliases, in one call."""
VERSION_LIMIT = 1_000
"""The most aliases of one version or link: replies must fit a message."""
COLLECTION_LIMIT = 5_000
"""The most aliases of one collection: UpdateAliases returns them all."""


class Change(NamedTuple):
    """One change. An empty `version` removes the alias.

    `expected` is the version it must point at now: empty for none, None for no check.
    """

    alias: str
    version: str
    expected: str | None


class Position(NamedTuple):
    """The target of an alias: its number, the artifact's version, and the link if it is one."""

    number: int
    version_id: str
    link_id: str | None


_A, _L, _V, _P = (cast(Table, row.__table__) for row in (Alias, Link, ArtifactVersion, Project))
_POSITIONS = (
    select(
        _A.c.alias,
        func.coalesce(_V.c.number, _L.c.number),
        func.coalesce(_V.c.id, _L.c.version_id),
        _A.c.link_id,
    )
    .outerjoin_from(_A, _V, _V.c.id == _A.c.version_id)
    .outerjoin(_L, _L.c.id == _A.c.link_id)
    .where(_A.c.collection_id == bindparam("collection"))
    .order_by(_A.c.alias)
    .with_for_update(of=_A)
)
_POSITIONS_OF = _POSITIONS.where(_A.c.alias.in_(bindparam("names", expanding=True)))
_ON = _POSITIONS.where((_A.c.version_id == bindparam("target")) | (_A.c.link_id == bindparam("target")))
_ALL = select(func.count()).where(_A.c.collection_id == bindparam("collection"))
_COUNTS = select(
    _ALL.scalar_subquery(),
    _ALL.where(
        (_A.c.version_id == bindparam("target")) | (_A.c.link_id == bindparam("target"))
    ).scalar_subquery(),
)
_OWN = (_A.c.collection_id == bindparam("collection"), _A.c.alias == bindparam("name"))
_PLACE: dict[str, Any] = {
    column: bindparam(f"new_{column}") for column in ("version_id", "link_id", "updated_at")
}
_OWNER = select(_P.c.entity_id).where(_P.c.id == bindparam("project")).scalar_subquery()
_ADD = _A.insert().values(
    collection_id=bindparam("collection"),
    alias=bindparam("name"),
    entity_id=_OWNER,
    project_id=bindparam("project"),
    **_PLACE,
)
_MOVE = _A.update().where(*_OWN).values(**_PLACE)
_REMOVE = _A.delete().where(*_OWN)


def check_names(field: str, names: Sequence[str]) -> list[str]:
    """At most 100 aliases that may be set, each once, sorted. Raises InvalidField."""
    if len(names) > CHANGE_LIMIT:
        raise errors.InvalidField.of(field, f"at most {CHANGE_LIMIT} aliases")
    for index, name in enumerate(names):
        fields.check(f"{field}[{index}]", refs.check_alias, name)
    return sorted(set(names))


def set_aliases(
    session: Session, principal: Principal, collection: Collection, target: Target, names: Sequence[str]
) -> None:
    """Sets or moves each alias to the target. Aliases that point at it already do not change."""
    wanted = sorted(set(names))
    positions = _positions(session, _POSITIONS_OF, collection, names=wanted)
    position = _position(target)
    for name in wanted:
        _set(session, principal, collection, position, name, positions.get(name))
    # `latest` moves with every commit and is not counted.
    if any(positions.get(name) != position for name in wanted if name != refs.LATEST):
        _check_counts(*session.execute(_COUNTS, {"collection": collection.id, "target": target.id}).one())


def release(session: Session, principal: Principal, collection: Collection, target: Target) -> None:
    """Removes every alias of a target that is deleted.

    `latest` moves to the newest remaining target, so the deleted one must be marked as
    deleted, and flushed, before.
    """
    before = _position(target)
    for name in _positions(session, _ON, collection, target=target.id):
        successor = _newest(session, collection) if name == refs.LATEST else None
        if successor is not None:
            _set(session, principal, collection, _position(successor), name, before)
        else:
            _remove(session, principal, collection, name, before)


def update(
    session: Session, principal: Principal, collection: Collection, changes: Sequence[Change]
) -> Mapping[str, Position]:
    """Makes all changes or none; returns the target of every alias of the collection, by name.

    Raises AliasChanged if an alias does not point at the expected version, NotFound for
    an unknown version, InvalidField.
    """
    _check_changes(changes)
    positions = _positions(session, _POSITIONS, collection)
    for change in changes:
        if change.expected is not None:
            _expect(change.alias, change.expected, positions.get(change.alias))
    targets = _targets(session, collection, changes)
    for change in sorted(changes):
        before = positions.pop(change.alias, None)
        if change.version:
            positions[change.alias] = targets[change.version]
            _set(session, principal, collection, targets[change.version], change.alias, before)
        elif before is not None:
            _remove(session, principal, collection, change.alias, before)
    if targets:
        on_each = Counter(positions.values())
        _check_counts(len(positions), max(on_each[position] for position in targets.values()))
    return dict(sorted(positions.items()))


def clear(session: Session, principal: Principal, collection: Collection) -> None:
    """Removes every alias of a collection that is deleted."""
    for name, position in _positions(session, _POSITIONS, collection).items():
        _remove(session, principal, collection, name, position)


def _check_counts(collection: int, target: int) -> None:
    """Raises QuotaExceeded for more aliases than a collection, or one of its versions, may have."""
    for count, most, what in (
        (target, VERSION_LIMIT, "a version"),
        (collection, COLLECTION_LIMIT, "an artifact or registered model"),
    ):
        if count > most:
            why = f"{what} has at most {most:,} aliases; remove some that are not needed"
            raise errors.QuotaExceeded.of("aliases", why)


def _set(
    session: Session,
    principal: Principal,
    collection: Collection,
    position: Position,
    name: str,
    before: Position | None,
) -> None:
    if before == position:
        return
    values = {
        "collection": collection.id,
        "name": name,
        "new_version_id": None if position.link_id else position.version_id,
        "new_link_id": position.link_id,
        "new_updated_at": now(session),
    }
    if before is None:
        session.execute(_ADD, {**values, "project": collection.project_id})
    else:
        session.execute(_MOVE, values)
    events.record(
        session,
        collection.project_id,
        "alias_added",
        principal,
        collection_id=collection.id,
        collection=collection.name,
        alias=name,
        version=f"v{position.number}",
        previous_version=f"v{before.number}" if before else "",
        version_id=position.version_id,
    )


def _remove(
    session: Session, principal: Principal, collection: Collection, name: str, position: Position
) -> None:
    session.execute(_REMOVE, {"collection": collection.id, "name": name})
    events.record(
        session,
        collection.project_id,
        "alias_removed",
        principal,
        collection_id=collection.id,
        collection=collection.name,
        alias=name,
        version=f"v{position.number}",
        version_id=position.version_id,
    )


def _position(target: Target) -> Position:
    if isinstance(target, Link):
        return Position(target.number, target.version_id, target.id)
    return Position(target.number, target.id, None)


def _positions(
    session: Session, statement: Any, collection: Collection, **parameters: str | Sequence[str]
) -> dict[str, Position]:
    """The targets of aliases, locked, ordered by name."""
    rows = session.execute(statement, {"collection": collection.id, **parameters})
    return {alias: Position(number, version_id, link_id) for alias, number, version_id, link_id in rows}


def _newest(session: Session, collection: Collection) -> Target | None:
    if collection.kind == "artifact":
        return session.scalar(
            select(ArtifactVersion)
            .where(ArtifactVersion.collection_id == collection.id, versions.live(session))
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
    if not 1 <= len(changes) <= CHANGE_LIMIT:
        raise errors.InvalidField.of("updates", f"has {len(changes)} changes; expected 1 to {CHANGE_LIMIT}")
    seen: set[str] = set()
    for index, change in enumerate(changes):
        where = f"updates[{index}]"
        fields.check(f"{where}.alias", refs.check_alias, change.alias)
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
            f"the alias {alias!r} points at {actual or 'no version'}, not at {expected or 'none'}",
            metadata={"alias": alias, "version": actual, "expected_version": expected},
        )


_VERSIONS = select(_V.c.number, _V.c.id, null().label("link_id"), _V.c.expires_at, _V.c.deleted_at).where(
    _V.c.collection_id == bindparam("collection"), _V.c.number.in_(bindparam("numbers", expanding=True))
)
_LINKS = select(_L.c.number, _L.c.version_id, _L.c.id, null().label("expires_at"), _L.c.deleted_at).where(
    _L.c.collection_id == bindparam("collection"), _L.c.number.in_(bindparam("numbers", expanding=True))
)


def _targets(session: Session, collection: Collection, changes: Sequence[Change]) -> Mapping[str, Position]:
    names = sorted({change.version for change in changes if change.version})
    if not names:
        return {}
    rows = session.execute(
        _VERSIONS if collection.kind == "artifact" else _LINKS,
        {"collection": collection.id, "numbers": [refs.version_number(name) for name in names]},
    )
    targets = {f"v{row.number}": Position._make(row[:3]) for row in rows if versions.is_live(session, row)}
    for name in names:
        if name not in targets:
            raise owners.not_found("version", f"{collection.name}:{name}")
    return targets
