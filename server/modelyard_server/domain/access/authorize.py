"""Which entities a caller enters in a transaction: asked wherever a thing of an entity is found."""

from __future__ import annotations

from sqlalchemy.orm import Session

from modelyard_server.domain.access.principals import Principal

_ENTERED = "entities entered"


def may_enter(session: Session, principal: Principal, entity: str) -> bool:
    """Whether the caller may read and write in an entity; one that they may is noted as entered."""
    allowed = principal.may_enter(entity)
    if allowed:
        session.info.setdefault(_ENTERED, set()).add(entity)
    return allowed


def entered(session: Session) -> list[str]:
    """The entities that the transaction has entered, by name."""
    return sorted(session.info.get(_ENTERED, ()))
