"""What identifies a batch that a client sends: its writer, and its sequence number there."""

from __future__ import annotations

from modelyard.contract import errors, refs
from modelyard_server.domain import fields

WRITER_LIMIT = 64


def check(writer: str, sequence: int) -> None:
    """Raises InvalidField for an empty or too long writer, and for a sequence below 1."""
    if not writer:
        raise errors.InvalidField.of("writer", "is empty; a client chooses a random one when it starts")
    fields.check("writer", refs.check_text, writer, limit=WRITER_LIMIT)
    if sequence < 1:
        raise errors.InvalidField.of("sequence", f"is {sequence}; a writer counts its batches from 1")
