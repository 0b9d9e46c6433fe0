"""Why an entity or a project was not found, and which similar names there are.

Runs only after a lookup found nothing. Nothing is read of an entity that the
caller may not see, so that the error does not tell whether it exists.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelyard.contract import errors
from modelyard_server.db.tables import Entity, Project
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import Principal

NEIGHBOURS = 50
"""Names read before and after the wanted one to find similar ones.

Deleted ones and those of the other kind count: a project may hold millions.
"""
SUGGESTIONS = 3

_ANY = true()


class Gap(NamedTuple):
    """The first missing part of a ref (`entity`, `project`, `name` or `version`), and a sentence on it."""

    part: str
    sentence: str


NO_GAP = Gap("", "")
"""No part is missing: it was created after the lookup."""


def project_not_found(session: Session, principal: Principal, entity: str, name: str) -> errors.NotFound:
    """The error for a project that was not found."""
    gap = missing_owner(session, principal, entity, name)
    return explained("project", f"{entity}/{name}", NO_GAP if isinstance(gap, int) else gap)


def explained(what: str, ref: str, gap: Gap) -> errors.NotFound:
    """The error for a `what` that was not found, with the sentence of the gap."""
    sentence = f"{what} {ref!r} was not found"
    metadata = {"resource_type": what, "ref": ref}
    if not gap.part:
        return errors.NotFound(sentence, metadata=metadata)
    return errors.NotFound(
        f"{sentence}: {gap.sentence}", metadata={**metadata, "missing": gap.part, "why": gap.sentence}
    )


def missing_owner(session: Session, principal: Principal, entity: str, name: str) -> Gap | int:
    """The gap if the entity or the project is missing, else the key of the project."""
    if not authorize(session, principal, Action.READ, Resource(entity, name)):
        return Gap("entity", f"there is no entity {entity!r} that you may read")
    found = session.scalar(select(Entity.id).where(Entity.name == entity))
    if found is None:
        if entity == principal.entity:
            return Gap("entity", f"nothing was logged to {entity} yet")
        return Gap("entity", f"there is no entity {entity!r}{similar(session, Entity.name, entity)}")
    row = session.scalar(select(Project.id).where(Project.entity_id == found, Project.name == name))
    if row is None:
        like = similar(session, Project.name, name, Project.entity_id == found)
        return Gap("project", f"there is no project {name!r} in {entity}{like}")
    return row


def similar(
    session: Session,
    column: InstrumentedAttribute[str],
    wanted: str,
    *conditions: ColumnElement[bool],
    fits: ColumnElement[bool] = _ANY,
) -> str:
    """The end of a sentence: names like the wanted one, or all names if at most three, else nothing.

    Of the names that meet `conditions` only those that meet `fits` are suggested.
    """
    near: list[str] = []
    whole = True
    for side, order in ((column >= wanted, column.asc()), (column < wanted, column.desc())):
        query = select(column, fits).where(side, *conditions)
        found = session.execute(query.order_by(order).limit(NEIGHBOURS)).all()
        near += [name for name, fitting in found if fitting]
        whole = whole and len(found) < NEIGHBOURS
    folded = {name.casefold(): name for name in near}
    close = difflib.get_close_matches(wanted.casefold(), folded, n=SUGGESTIONS)
    longer = [name for name in folded if name.startswith(wanted.casefold())]
    if alike := list(dict.fromkeys([*close, *longer]))[:SUGGESTIONS]:
        return f"; did you mean {_listed([folded[name] for name in alike], 'or')}?"
    return f"; there is {_listed(sorted(near), 'and')}" if whole and 0 < len(near) <= SUGGESTIONS else ""


def _listed(names: list[str], word: str) -> str:
    quoted = [repr(name) for name in names]
    return f" {word} ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
