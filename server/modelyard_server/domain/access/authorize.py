"""What a caller may do: every check of rights in the rules is made here.

Rights are those of the caller's key: it acts in its own entity or in all.
Within an entity every action is allowed. Grants and roles will change the body
of `authorize` and of `reach`, not their callers.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from sqlalchemy.orm import Session

from modelyard_server.domain.access.principals import Principal

_ENTERED = "entities entered"


class Action(Enum):
    """What a caller does to a resource."""

    READ = "read"
    """See names and metadata."""
    DOWNLOAD = "download"
    """Read the bytes of versions, and use them in runs."""
    WRITE = "write"
    """Log, update and link."""
    PROMOTE = "promote"
    """Move aliases."""
    DELETE = "delete"


class Resource(NamedTuple):
    """A project or a registry by its names; the entity itself if `project` is empty."""

    entity: str
    project: str = ""


def authorize(session: Session, principal: Principal, action: Action, resource: Resource) -> bool:
    """Whether the caller may do this; if so, the entity is recorded for `entered`.

    False means that the caller may not know whether the resource exists: they
    get the error for a missing one, or NotAllowed if they named an entity to
    write to. A caller who may see the resource but not do this gets NotAllowed,
    raised here: not raised yet, since a key may do everything in its entities.
    """
    allowed = principal.all_entities or resource.entity == principal.entity
    if allowed:
        session.info.setdefault(_ENTERED, set()).add(resource.entity)
    return allowed


def reach(principal: Principal) -> frozenset[str] | None:
    """The entities in which the caller may read, for conditions in SQL; None if all."""
    return None if principal.all_entities else frozenset({principal.entity})


def entered(session: Session) -> list[str]:
    """The entities in which the transaction was allowed something, sorted by name."""
    return sorted(session.info.get(_ENTERED, ()))
