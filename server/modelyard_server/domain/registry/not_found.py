"""Why a reference stands for nothing: which part of it is absent, and what is there that is like it.

Asked only after nothing was found. Of entities that the caller may not enter
nothing is read: whether they exist does not change a word.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, func, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelyard.contract import errors, refs
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Link, Project
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import expiry

NEIGHBOURS = 50
"""How many names before and after the wanted one are looked at, and how many of the newest versions.

Also of those that are deleted or of the other kind: a project may hold millions.
"""
SHOWN = 3

_ANY = true()
_KINDS = {"artifact": "model artifact", "model": "registered model"}


class _Gap(NamedTuple):
    """The first absent part of a reference: `entity`, `project`, `name` or `version`; and a sentence."""

    part: str
    sentence: str


_NONE = _Gap("", "")
"""Everything is there: it was made in between."""


def project(session: Session, principal: Principal, entity: str, name: str) -> errors.NotFound:
    """The error for a project that was not found."""
    gap = _in_owners(session, principal, entity, name)
    return _error("project", f"{entity}/{name}", _NONE if isinstance(gap, int) else gap)


def collection(
    session: Session, principal: Principal, what: str, path: refs.Ref, kind: str | None
) -> errors.NotFound:
    """The error for an artifact or a registered model, of one `kind` if not None, that was not found."""
    gap = _in_project(session, principal, path, kind)
    return _error(what, str(path), gap if isinstance(gap, _Gap) else _NONE)


def version(
    session: Session, principal: Principal, what: str, ref: refs.Ref, kind: str | None = None
) -> errors.NotFound:
    """The error for a full reference that stands for no version; `kind` None: of either kind."""
    gap = _in_project(session, principal, ref, kind)
    return _error(what, str(ref), gap if isinstance(gap, _Gap) else _in_collection(session, gap, ref))


def _error(what: str, ref: str, gap: _Gap) -> errors.NotFound:
    sentence = f"{what} {ref!r} was not found"
    metadata = {"resource_type": what, "ref": ref}
    if not gap.part:
        return errors.NotFound(sentence, metadata=metadata)
    return errors.NotFound(
        f"{sentence}: {gap.sentence}", metadata={**metadata, "missing": gap.part, "why": gap.sentence}
    )


def _in_owners(session: Session, principal: Principal, entity: str, name: str) -> _Gap | int:
    """What is absent of entity and project, or the project's key."""
    if not principal.may_enter(entity):
        return _Gap("entity", f"there is no entity {entity!r} that you may read")
    found = session.scalar(select(Entity.id).where(Entity.name == entity))
    if found is None:
        if entity == principal.entity:
            return _Gap("entity", f"nothing was logged to {entity} yet")
        return _Gap("entity", f"there is no entity {entity!r}{_like(session, Entity.name, entity)}")
    row = session.scalar(select(Project.id).where(Project.entity_id == found, Project.name == name))
    if row is None:
        like = _like(session, Project.name, name, Project.entity_id == found)
        return _Gap("project", f"there is no project {name!r} in {entity}{like}")
    return row


def _in_project(
    session: Session, principal: Principal, ref: refs.Ref, kind: str | None
) -> _Gap | Row[*tuple[Any, ...]]:
    """What is absent up to the name, or the collection."""
    owner = _in_owners(session, principal, ref.entity, ref.project)
    if isinstance(owner, _Gap):
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
        return _Gap("name", f"{ref.name!r} in {where} is a {_KINDS[row.kind]}")
    wanted = _KINDS[kind] if kind else "artifact or registered model"
    fits: ColumnElement[bool] = Collection.deleted_at.is_(None)
    if kind:
        fits &= Collection.kind == kind
    like = _like(session, Collection.name, ref.name, Collection.project_id == owner, fits=fits)
    gone = " any more" if row is not None else ""
    return _Gap("name", f"there is no {wanted} {ref.name!r} in {where}{gone}{like}")


def _in_collection(session: Session, row: Row[*tuple[Any, ...]], ref: refs.Ref) -> _Gap:
    name, number, alias = ref.name, ref.number, ref.alias or refs.LATEST
    of = row.id
    if number is None:
        stands = select(Alias.alias).where(Alias.collection_id == of, Alias.alias == alias)
    else:
        stands = select(Link.id).where(
            Link.collection_id == of, Link.number == number, Link.deleted_at.is_(None)
        )
    if session.scalar(stands) is not None:
        return _Gap("version", "what it stands for has expired, or is not yours to read")
    if number is not None and number < row.next_version:
        return _Gap("version", f"v{number} of {name!r} was deleted or has expired")
    newest = _newest(session, row)
    if newest is None and row.next_version > NEIGHBOURS:
        return _Gap("version", f"the newest versions of {name!r} were deleted or have expired")
    if newest is None:
        return _Gap("version", f"{name!r} has no versions")
    if number is not None:
        return _Gap("version", f"{name!r} has no v{number}; its newest version is v{newest}")
    like = _like(session, Alias.alias, alias, Alias.collection_id == of)
    return _Gap("version", f"{name!r} has no alias {alias!r}{like}")


def _newest(session: Session, row: Row[*tuple[Any, ...]]) -> int | None:
    table: Any = ArtifactVersion if row.kind == "artifact" else Link
    live = expiry.live(session) if table is ArtifactVersion else Link.deleted_at.is_(None)
    of = select(table.number, live.label("live")).where(table.collection_id == row.id)
    newest = of.order_by(table.number.desc()).limit(NEIGHBOURS).subquery()
    found: int | None = session.scalar(select(func.max(newest.c.number)).where(newest.c.live))
    return found


def _like(
    session: Session,
    column: InstrumentedAttribute[str],
    wanted: str,
    *conditions: ColumnElement[bool],
    fits: ColumnElement[bool] = _ANY,
) -> str:
    """What is close to a name that is absent, or all there is where that is little; else nothing."""
    near: list[str] = []
    whole = True
    for side, order in ((column >= wanted, column.asc()), (column < wanted, column.desc())):
        query = select(column, fits).where(side, *conditions)
        found = session.execute(query.order_by(order).limit(NEIGHBOURS)).all()
        near += [name for name, fitting in found if fitting]
        whole = whole and len(found) < NEIGHBOURS
    folded = {name.casefold(): name for name in near}
    close = difflib.get_close_matches(wanted.casefold(), folded, n=SHOWN)
    longer = [name for name in folded if name.startswith(wanted.casefold())]
    if alike := list(dict.fromkeys([*close, *longer]))[:SHOWN]:
        return f"; did you mean {_listed([folded[name] for name in alike], 'or')}?"
    return f"; there is {_listed(sorted(near), 'and')}" if whole and 0 < len(near) <= SHOWN else ""


def _listed(names: list[str], word: str) -> str:
    quoted = [repr(name) for name in names]
    return f" {word} ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
