"""Ids that sort by creation time."""

from __future__ import annotations

from uuid6 import uuid7


def new_id() -> str:
    """A new UUIDv7 as lower-case text with hyphens."""
    return str(uuid7())
