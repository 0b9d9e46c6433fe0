"""Registered models: named collections of links to versions. A link has its own number and aliases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link
from modelyard_server.db.upserts import batches
from modelyard_server.domain import etags, events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, authorize
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import aliases, collections, versions
from modelyard_server.domain.registry.full_names import FullName, full_name_of, full_names
from modelyard_server.domain.registry.versions import VersionView

LINK_LIMIT = 1_000
"""The most links to one version: replies must fit a message."""

# Built once: building a statement takes longer than running it.
_LINK = select(Link).where(
    Link.collection_id == bindparam("model"),
    Link.version_id == bindparam("version"),
    Link.deleted_at.is_(None),
)
_LINKED = select(func.count(Link.id)).where(
    Link.version_id == bindparam("version"), Link.deleted_at.is_(None)
)
_LAST = select(func.max(Link.linked_at)).where(Link.collection_id == bindparam("model"))
_SOURCE = select(Collection).where(Collection.id == bindparam("of")).with_for_update(read=True)
_NAMES = (
    select(Alias.link_id, Alias.alias)
    .where(Alias.link_id.in_(bindparam("links", expanding=True)))
    .order_by(Alias.alias)
)
_SOURCES = select(ArtifactVersion).where(ArtifactVersion.id.in_(bindparam("versions", expanding=True)))


class LinkView(NamedTuple):
    """A link with its names and aliases, as replies have it.

    `source` is None if the caller may not see it.
    """

    link: Link
    full_name: FullName
    aliases: Sequence[str]
    source: VersionView | None


def create(
    session: Session,
    principal: Principal,
    *,
    entity: str,
    project: str,
    name: str,
    type_: str,
    description: str,
    tags: Sequence[str],
) -> Collection:
    """Creates a registered model without links.

    Raises AlreadyExists, TypeMismatch, NotAllowed, InvalidField.
    """
    prefix = "registered_model."
    fields.check_place(prefix, entity, project)
    fields.check(f"{prefix}name", refs.check_model_name, name)
    type_ = fields.check_type(f"{prefix}type", type_ or collections.DEFAULT_TYPE)
    place = owners.ensure_project(session, principal, entity, project or refs.REGISTRY_PROJECT)
    return collections.create(session, principal, place, "model", name, type_, description, tags, prefix)


def link(
    session: Session,
    principal: Principal,
    found: ArtifactVersion,
    target: str | Collection,
    names: Sequence[str],
) -> tuple[Link, bool]:
    """Links a version into a registered model; returns the link, and whether it is new.

    `target` is a ref, whose registered model is created if needed, or a registered model
    that was resolved without a lock. The link gets the aliases and `latest`. Linking clears
    the expiry of the version. Raises TypeMismatch, NotAllowed, NotFound, InvalidField.
    """
    names = aliases.check_names("aliases", names)
    wanted = _parse_target(target) if isinstance(target, str) else target
    # Deletes lock the artifact first and then the registered model, so links do too.
    source, version = _hold_source(session, found)
    home = full_name_of(session, source)
    model, there = _lock_target(session, principal, wanted, home)
    row: Link | None = session.scalar(_LINK, {"model": model.id, "version": version.id})
    created = row is None
    time = _after_last_call(session, model)
    if row is None:
        _check_links(session, version)
        row = _new_link(session, principal, model, version, home, there)
    row.linked_at = time
    if version.expires_at is not None:
        version.expires_at = None
        etags.renew(session, version)
        details = {"collection": home.name, "version": f"v{version.number}", "version_id": version.id}
        events.record(
            session, home.project_id, "version_updated", principal, collection_id=source.id, **details
        )
    session.flush()
    aliases.set_aliases(session, principal, model, row, [refs.LATEST, *names])
    return row, created


def describe(session: Session, principal: Principal, links: Sequence[Link]) -> list[LinkView]:
    """The views of links, in a constant number of statements."""
    where = full_names(session, [row.collection_id for row in links])
    names: dict[str, list[str]] = {}
    sources: list[ArtifactVersion] = []
    for batch in batches([row.id for row in links]):
        for link_id, alias in session.execute(_NAMES, {"links": batch}):
            names.setdefault(str(link_id), []).append(alias)
    for batch in batches(sorted({row.version_id for row in links})):
        sources += session.scalars(_SOURCES, {"versions": batch})
    views = {
        view.version.id: view
        for view in versions.describe(session, principal, sources)
        if authorize(session, principal, Action.READ, view.full_name.resource)
    }
    return [
        LinkView(row, where[row.collection_id], names.get(row.id, ()), views.get(row.version_id))
        for row in links
    ]


def _check_links(session: Session, version: ArtifactVersion) -> None:
    if session.execute(_LINKED, {"version": version.id}).scalar_one() >= LINK_LIMIT:
        raise errors.QuotaExceeded.of(
            "target", f"a version has at most {LINK_LIMIT:,} links; remove some that are not needed"
        )


def _hold_source(session: Session, found: ArtifactVersion) -> tuple[Collection, ArtifactVersion]:
    """The version, and its artifact with a shared lock, which prevents that the version is deleted."""
    source = session.scalars(_SOURCE, {"of": found.collection_id}).one()
    return source, versions.reload(session, found)


def _parse_target(target: str) -> refs.Ref:
    parsed = fields.check("target_ref", refs.parse, target)
    if parsed.alias:
        raise errors.InvalidField.of(
            "target_ref", f"{target!r} names a version; the number of a link is assigned by the server"
        )
    return parsed


def _lock_target(
    session: Session, principal: Principal, target: refs.Ref | Collection, source: FullName
) -> tuple[Collection, FullName]:
    """The registered model to link into, locked; one that a ref names is created or revived if needed."""
    if isinstance(target, Collection):
        model = collections.lock(session, target.id)
        collections.check_kind(model, "model", source.type)
        return model, full_name_of(session, model)
    entity = target.entity or source.entity
    place = owners.ensure_project(session, principal, entity, target.project or refs.REGISTRY_PROJECT)
    row = collections.lock_name(session, place.id, target.name)
    if row is None:
        row = collections.new(session, principal, place, "model", target.name, source.type)
    collections.check_kind(row, "model", source.type)
    if row.deleted_at is not None:
        collections.revive(session, principal, row)
    return row, FullName(entity, place.name, row.name, row.type, place.id, row.id)


def _new_link(
    session: Session,
    principal: Principal,
    model: Collection,
    version: ArtifactVersion,
    source: FullName,
    target: FullName,
) -> Link:
    row = Link(
        id=new_id(),
        collection_id=model.id,
        version_id=version.id,
        number=collections.take_number(session, model),
        linked_at=0,
        created_by=principal.name,
        created_at=now(session),
        deleted_at=None,
    )
    session.add(row)
    _record_link(session, principal, "linked", row, version, source, target)
    return row


def mark_unlinked(session: Session, principal: Principal, links: Sequence[Link]) -> None:
    """Marks links as deleted. The caller holds the locks of their registered models."""
    linked: dict[str, ArtifactVersion] = {}
    for batch in batches(sorted({link.version_id for link in links})):
        rows = session.scalars(select(ArtifactVersion).where(ArtifactVersion.id.in_(batch)))
        linked |= {version.id: version for version in rows}
    names = full_names(
        session,
        [version.collection_id for version in linked.values()] + [link.collection_id for link in links],
    )
    for link in links:
        version = linked[link.version_id]
        link.deleted_at = now(session)
        source, model = names[version.collection_id], names[link.collection_id]
        _record_link(session, principal, "unlinked", link, version, source, model)
    session.flush()


def _record_link(
    session: Session,
    principal: Principal,
    type_: str,
    row: Link,
    version: ArtifactVersion,
    source: FullName,
    model: FullName,
) -> None:
    """Records the two events of a new or removed link; each names the other side."""
    for here, number, other in (
        (source, version.number, model.ref(row.number)),
        (model, row.number, source.ref(version.number)),
    ):
        events.record(
            session,
            here.project_id,
            type_,
            principal,
            collection_id=here.collection_id,
            collection=here.name,
            version=f"v{number}",
            version_id=version.id,
            linked=other,
        )


def _after_last_call(session: Session, model: Collection) -> int:
    """The current time, but after that of every earlier link.

    Transactions may begin and lock in different orders.
    """
    last: int | None = session.scalar(_LAST, {"model": model.id})
    return max(now(session), (last or 0) + 1)
