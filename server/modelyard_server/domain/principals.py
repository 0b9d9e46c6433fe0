"""Who calls, and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard import refs


@dataclass(frozen=True)
class Principal:
    """Somebody a key was given to. `entity` is their default, and their limit unless `all_entities`."""

    name: str
    entity: str = refs.DEFAULT_ENTITY
    all_entities: bool = False

    def may_enter(self, entity: str) -> bool:
        """Whether they may read and write in an entity."""
        return self.all_entities or entity == self.entity


LOCAL = Principal("local", refs.DEFAULT_ENTITY, all_entities=True)
"""Whoever reaches a server that asks for no key."""
SERVER = Principal("modelyard", refs.DEFAULT_ENTITY, all_entities=True)
"""The server itself: what it does because a time has come."""
