"""Principals: the identities that calls are made as."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.contract import refs


@dataclass(frozen=True)
class Principal:
    """A caller with the rights of this call.

    Rights and limits depend on `id`; `name` is only displayed, and unique only within
    an entity. `entity` is the caller's default, and the only one that it may access
    unless `all_entities`. That is a right of the key: two keys of one principal may
    differ in it.
    """

    id: str
    name: str
    entity: str = refs.DEFAULT_ENTITY
    all_entities: bool = False
    owns_folder: bool = False
    """Whether the caller sent the token of the server's data folder."""


# Fixed ids of principals without keys. All other ids are UUIDv7, which these are not.
LOCAL = Principal("00000000-0000-0000-0000-000000000001", "local", all_entities=True)
"""The caller of a server that requires no key."""
FOLDER_OWNER = Principal("00000000-0000-0000-0000-000000000002", "local", all_entities=True, owns_folder=True)
"""The caller that sends the token of the data folder."""
SERVER = Principal("00000000-0000-0000-0000-000000000003", "modelyard", all_entities=True)
"""The server itself, for its periodic work."""
