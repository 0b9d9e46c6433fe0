"""Why a ref was not found: the missing part, and similar names.

Runs only after a lookup found nothing. Nothing is read of entities that the caller
may not see, so that the error does not tell whether they exist.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link
from modelyard_server.domain.access.owner_not_found import (
    NEIGHBOURS,
    NO_GAP,
    Gap,
    explained,
    missing_owner,
    similar,
)
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import versions
from modelyard_server.domain.registry.collections import NAMES


def collection(
    session: Session, principal: Principal, what: str, path: refs.Ref, kind: str | None
) -> errors.NotFound:
    """The error for an artifact or a registered model, of one `kind` if not None, that was not found."""
    gap = _in_project(session, principal, path, kind)
    return explained(what, str(path), gap if isinstance(gap, Gap) else NO_GAP)


def version(
    session: Session, principal: Principal, what: str, ref: refs.Ref, kind: str | None = None
) -> errors.NotFound:
    """The error for a full ref without a version; `kind` None: of either kind."""
    gap = _in_project(session, principal, ref, kind)
    return explained(what, str(ref), gap if isinstance(gap, Gap) else _in_collection(session, gap, ref))


def _in_project(
    session: Session, principal: Principal, ref: refs.Ref, kind: str | None
) -> Gap | Row[*tuple[Any, ...]]:
    """The missing part up to the name, or else the collection."""
    owner = missing_owner(session, principal, ref.entity, ref.project)
    if isinstance(owner, Gap):
        return owner
    row = session.execute(
        select(Collection.id, Collection.kind, Collection.next_version, Collection.deleted_at).where(
            Collection.project_id == owner, Collection.name == ref.name
        )
    ).one_or_none()
    where = f"{ref.entity}/{ref.project}"
    if row is not None and row.deleted_at is None:
        if kind in (None, row.kind):
            return row
        return Gap("name", f"{ref.name!r} in {where} is a {NAMES[row.kind]}")
    wanted = NAMES[kind] if kind else "artifact or registered model"
    fits: ColumnElement[bool] = Collection.deleted_at.is_(None)
    if kind:
        fits &= Collection.kind == kind
    like = similar(session, Collection.name, ref.name, Collection.project_id == owner, fits=fits)
    deleted = " any more" if row is not None else ""
    return Gap("name", f"there is no {wanted} {ref.name!r} in {where}{deleted}{like}")


def _in_collection(session: Session, row: Row[*tuple[Any, ...]], ref: refs.Ref) -> Gap:
    name, number, alias = ref.name, ref.number, ref.alias or refs.LATEST
    of = row.id
    if number is None:
        stands = select(Alias.alias).where(Alias.collection_id == of, Alias.alias == alias)
    else:
        stands = select(Link.id).where(
            Link.collection_id == of, Link.number == number, Link.deleted_at.is_(None)
        )
    if session.scalar(stands) is not None:
        return Gap("version", "its version has expired, or you may not read it")
    if number is not None and number < row.next_version:
        return Gap("version", f"v{number} of {name!r} was deleted or has expired")
    newest = _newest(session, row)
    if newest is None and row.next_version > NEIGHBOURS:
        return Gap("version", f"the newest versions of {name!r} were deleted or have expired")
    if newest is None:
        return Gap("version", f"{name!r} has no versions")
    if number is not None:
        return Gap("version", f"{name!r} has no v{number}; its newest version is v{newest}")
    like = similar(session, Alias.alias, alias, Alias.collection_id == of)
    return Gap("version", f"{name!r} has no alias {alias!r}{like}")


def _newest(session: Session, row: Row[*tuple[Any, ...]]) -> int | None:
    table: Any = ArtifactVersion if row.kind == "artifact" else Link
    live = versions.live(session) if table is ArtifactVersion else Link.deleted_at.is_(None)
    of = select(table.number, live.label("live")).where(table.collection_id == row.id)
    newest = of.order_by(table.number.desc()).limit(NEIGHBOURS).subquery()
    found: int | None = session.scalar(select(func.max(newest.c.number)).where(newest.c.live))
    return found
