"""Who calls, and what belongs to them."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.contract import refs


@dataclass(frozen=True)
class Principal:
    """A caller with the rights of this call.

    `id` says who it is and is what rights and limits go by; `name` is what people read and is
    unique only within an entity. `entity` is the caller's default, and the limit of what may be
    entered unless `all_entities`, which is a right of the key: two keys of one principal may differ in it.
    """

    id: str
    name: str
    entity: str = refs.DEFAULT_ENTITY
    all_entities: bool = False
    owns_folder: bool = False
    """Whether they have shown that they can read the server's data folder."""


# Fixed ids of those whom no key names. Ids of all others are UUIDv7, which these are not.
LOCAL = Principal("00000000-0000-0000-0000-000000000001", "local", all_entities=True)
"""Whoever reaches a server that asks for no key."""
FOLDER_OWNER = Principal("00000000-0000-0000-0000-000000000002", "local", all_entities=True, owns_folder=True)
"""Whoever sends the token that lies in the data folder."""
SERVER = Principal("00000000-0000-0000-0000-000000000003", "modelyard", all_entities=True)
"""The server itself: what it does because a time has come."""
