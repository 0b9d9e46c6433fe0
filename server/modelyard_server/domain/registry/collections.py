"""Collections: what artifacts and registered models have in common.

Both share one namespace in a project. A deleted collection keeps its row, so that
its numbers are not given out again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link, Project
from modelyard_server.db.upserts import batches
from modelyard_server.domain import etags, events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry.full_names import FullName, full_names

Kind: TypeAlias = Literal["artifact", "model"]
NAMES: Mapping[str, str] = {"artifact": "model artifact", "model": "registered model"}
DEFAULT_TYPE = "model"
SHOWN_ALIASES = 100
"""The most aliases in the view of a registered model: a page of them must fit a message."""
DEFAULT_PROJECTS: Mapping[str, str] = {"artifact": refs.DEFAULT_PROJECT, "model": refs.REGISTRY_PROJECT}

# Built once: building a statement takes longer than running it.
_OWN_NAME = (Collection.project_id == bindparam("project"), Collection.name == bindparam("name"))
_TAKEN = select(Collection.id).where(*_OWN_NAME)
_NAMED = select(Collection).where(*_OWN_NAME)
_BY_NAME = _NAMED.with_for_update().execution_options(populate_existing=True)
_C: Any = Collection.__table__
_COUNT = (
    _C.update()
    .where(_C.c.id == bindparam("of"))
    .values(next_version=bindparam("next"), updated_at=bindparam("time"))
)


class CollectionView(NamedTuple):
    """A collection with its full name and counts, as replies have it."""

    collection: Collection
    full_name: FullName
    version_count: int
    aliases: Sequence[tuple[str, int]] = ()
    """Of a registered model: names and numbers."""
    last_link: tuple[int, str] | None = None
    """Of a registered model: when its newest link was made, and by whom."""


def by_name(session: Session, project_id: int, name: str) -> Collection | None:
    """The row with a name, deleted or not."""
    found: Collection | None = session.scalar(_NAMED, {"project": project_id, "name": name})
    return found


def lock_name(session: Session, project_id: int, name: str) -> Collection | None:
    """The row with a name, deleted or not, locked until the transaction ends."""
    found: Collection | None = session.scalar(_BY_NAME, {"project": project_id, "name": name})
    return found


def lock_collections(session: Session, ids: Sequence[str]) -> None:
    """Locks collections in the order of their ids. Lock artifacts before registered models."""
    for batch in batches(sorted(set(ids))):
        session.scalars(
            select(Collection)
            .where(Collection.id.in_(batch))
            .order_by(Collection.id)
            .with_for_update()
            .execution_options(populate_existing=True)
        ).all()


def new(
    session: Session, principal: Principal, project: Project, kind: Kind, name: str, type_: str
) -> Collection:
    """Inserts a row. Of two concurrent transactions, the second is retried and finds the row."""
    time = now(session)
    row = Collection(
        id=new_id(),
        project_id=project.id,
        kind=kind,
        name=name,
        type=type_,
        description="",
        tags=[],
        next_version=0,
        created_by=principal.name,
        created_at=time,
        updated_at=time,
        deleted_at=None,
    )
    session.add(row)
    session.flush()
    events.record(session, project.id, "collection_created", principal, collection_id=row.id, collection=name)
    return row


def take_number(session: Session, row: Collection) -> int:
    """The number of the next version or link; the caller holds the lock of the row.

    A plain statement: flushing an object takes longer than all the rest of a small commit.
    """
    number = row.next_version
    session.execute(_COUNT, {"of": row.id, "next": number + 1, "time": now(session)})
    return number


def raise_numbers(session: Session, margin: int) -> int:
    """Lets every collection leave out its next numbers, as many as `margin`; returns how many there are."""
    raised: Any = session.execute(update(Collection).values(next_version=Collection.next_version + margin))
    return int(raised.rowcount)


def raise_number(row: Collection, least: int) -> None:
    """Has a collection give out no number below `least`."""
    row.next_version = max(row.next_version, least)


def revive(session: Session, principal: Principal, row: Collection) -> None:
    """Revives a deleted collection: empty, with its type and its counter."""
    row.deleted_at = None
    row.description, row.tags = "", []
    row.created_by, row.created_at = principal.name, now(session)
    row.updated_at = row.created_at
    events.record(
        session, row.project_id, "collection_created", principal, collection_id=row.id, collection=row.name
    )


def mark_deleted(session: Session, principal: Principal, row: Collection) -> None:
    """Marks a collection as deleted. The caller holds its lock, and has deleted what is in it."""
    row.deleted_at = row.updated_at = now(session)
    details = {"collection": row.name}
    events.record(session, row.project_id, "collection_deleted", principal, collection_id=row.id, **details)


def check_kind(row: Collection, kind: Kind, type_: str) -> None:
    """Raises TypeMismatch for a row of the other kind, or of another type if one is given."""
    metadata = {"name": row.name, "type": row.type}
    if row.kind != kind:
        raise errors.TypeMismatch(f"{row.name!r} is the name of a {NAMES[row.kind]}", metadata=metadata)
    if type_ and row.type != type_:
        raise errors.TypeMismatch(
            f"{row.name!r} has the type {row.type!r}, which never changes; it cannot be {type_!r}",
            metadata=metadata,
        )


def create(
    session: Session,
    principal: Principal,
    project: Project,
    kind: Kind,
    name: str,
    type_: str,
    description: str,
    tags: Sequence[str],
    prefix: str,
) -> Collection:
    """Creates or revives a collection. Raises AlreadyExists, TypeMismatch, InvalidField."""
    description = fields.check_description(f"{prefix}description", description)
    kept = fields.check_tags(f"{prefix}tags", tags)
    row = lock_name(session, project.id, name)
    if row is None:
        row = new(session, principal, project, kind, name, type_)
    elif row.deleted_at is None:
        raise errors.AlreadyExists(
            f"the name {name!r} belongs to a {NAMES[row.kind]}", metadata={"name": name, "id": row.id}
        )
    else:
        check_kind(row, kind, type_)
        revive(session, principal, row)
    row.description, row.tags = description, kept
    record_tags(session, principal, row, (), kept)
    return row


def lock(session: Session, collection_id: str) -> Collection:
    """The collection, locked and as it is then. Raises NotFound if it was deleted since it was resolved."""
    lock_collections(session, [collection_id])
    row = session.get_one(Collection, collection_id)
    if row.deleted_at is not None:
        raise owners.not_found(NAMES[row.kind], row.name)
    return row


def change(
    session: Session,
    principal: Principal,
    row: Collection,
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Sequence[str] | None = None,
    etag: str = "",
    prefix: str,
) -> None:
    """Changes what is given, in a row that is locked.

    Raises EtagMismatch, AlreadyExists for a name that is taken, InvalidField.
    """
    etags.check(f"{prefix}etag", etag, etags.of_collection, row)
    changed = False
    if description is not None and description != row.description:
        row.description, changed = fields.check_description(f"{prefix}description", description), True
    if name is not None and name != row.name:
        _rename(session, row, name, f"{prefix}name")
        changed = True
    if changed:
        events.record(
            session,
            row.project_id,
            "collection_updated",
            principal,
            collection_id=row.id,
            collection=row.name,
        )
    if tags is not None:
        kept = fields.check_tags(f"{prefix}tags", tags)
        record_tags(session, principal, row, row.tags, kept)
        changed = changed or kept != row.tags
        row.tags = kept
    if changed:
        row.updated_at = now(session)


def describe(session: Session, rows: Sequence[Collection]) -> list[CollectionView]:
    """The views of collections, in a constant number of statements."""
    where = full_names(session, [row.id for row in rows])
    counts: dict[str, int] = {}
    for table, kind in ((ArtifactVersion, "artifact"), (Link, "model")):
        for batch in batches([row.id for row in rows if row.kind == kind]):
            counted = (
                select(table.collection_id, func.count())
                .where(table.collection_id.in_(batch), table.deleted_at.is_(None))
                .group_by(table.collection_id)
            )
            counts |= {row[0]: row[1] for row in session.execute(counted)}
    models = [row.id for row in rows if row.kind == "model"]
    aliases, links = _aliases(session, models), _last_links(session, models)
    return [
        CollectionView(row, where[row.id], counts.get(row.id, 0), aliases.get(row.id, ()), links.get(row.id))
        for row in rows
    ]


def _aliases(session: Session, models: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """The aliases of registered models by name; of many those that were set last."""
    place = (
        func.row_number()
        .over(partition_by=Alias.collection_id, order_by=(Alias.updated_at.desc(), Alias.alias))
        .label("place")
    )
    found: dict[str, list[tuple[str, int]]] = {}
    for batch in batches(models):
        ranked = (
            select(Alias.collection_id, Alias.alias, Link.number, place)
            .join(Link, Link.id == Alias.link_id)
            .where(Alias.collection_id.in_(batch))
            .subquery()
        )
        chosen = select(ranked).where(ranked.c.place <= SHOWN_ALIASES).order_by(ranked.c.alias)
        for collection_id, alias, number, _ in session.execute(chosen):
            found.setdefault(collection_id, []).append((alias, number))
    return found


def _last_links(session: Session, models: Sequence[str]) -> dict[str, tuple[int, str]]:
    """When the newest link of each registered model was made, and by whom."""
    found: dict[str, tuple[int, str]] = {}
    for batch in batches(models):
        newest = (
            select(Link.collection_id, func.max(Link.number).label("number"))
            .where(Link.collection_id.in_(batch), Link.deleted_at.is_(None))
            .group_by(Link.collection_id)
            .subquery()
        )
        rows = select(Link.collection_id, Link.created_at, Link.created_by).join(
            newest, (Link.collection_id == newest.c.collection_id) & (Link.number == newest.c.number)
        )
        found |= {row[0]: (row[1], row[2]) for row in session.execute(rows)}
    return found


def record_tags(
    session: Session,
    principal: Principal,
    row: Collection,
    before: Sequence[str],
    after: Sequence[str],
    **details: str,
) -> None:
    """Records the events of a change of tags, of a collection or of one of its versions."""
    for type_, tags in (
        ("tag_removed", [tag for tag in before if tag not in after]),
        ("tag_added", [tag for tag in after if tag not in before]),
    ):
        for tag in tags:
            events.record(
                session,
                row.project_id,
                type_,
                principal,
                collection_id=row.id,
                collection=row.name,
                tag=tag,
                **details,
            )


def _rename(session: Session, row: Collection, name: str, field: str) -> None:
    fields.check(field, refs.check_model_name, name)
    # Not locked: two that take each other's name would deadlock. The schema keeps names unique.
    if session.scalar(_TAKEN, {"project": row.project_id, "name": name}) is not None:
        raise errors.AlreadyExists(f"the name {name!r} is taken in this project", metadata={"name": name})
    row.name = name
