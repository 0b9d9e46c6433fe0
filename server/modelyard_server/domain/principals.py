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
    owns_folder: bool = False
    """Whether they have shown that they can read the server's data folder."""

    def may_enter(self, entity: str) -> bool:
        """Whether they may read and write in an entity."""
        return self.all_entities or entity == self.entity


LOCAL = Principal("local", refs.DEFAULT_ENTITY, all_entities=True)
"""Whoever reaches a server that asks for no key."""
FOLDER_OWNER = Principal("local", refs.DEFAULT_ENTITY, all_entities=True, owns_folder=True)
"""Whoever sends the token that lies in the data folder."""
SERVER = Principal("modelyard", refs.DEFAULT_ENTITY, all_entities=True)
"""The server itself: what it does because a time has come."""
