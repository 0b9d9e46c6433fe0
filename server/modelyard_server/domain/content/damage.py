"""Quarantines chunks whose stored bytes are lost or wrong, so that the next upload replaces them.

A quarantined chunk counts as missing. Files and versions keep their rows, and are
complete again when the same content is uploaded under any name of the entity.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import now
from modelyard_server.db.tables import Chunk
from modelyard_server.domain.content.confirmation import require_confirmed
from modelyard_server.domain.content.file_ranges import ChunkRange
from modelyard_server.packs.confirmed import PackLoss

log = logging.getLogger(__name__)

_HELP = "log the same content again, under any name, to replace it, or restore the store from its backup"


def quarantine_losses(session: Session, losses: Sequence[PackLoss]) -> None:
    """Quarantines the chunks that are, completely or partly, in the lost parts of packs."""
    for pack, left in losses:
        count = _quarantine(session, Chunk.pack_id == pack.pack_id, Chunk.offset + Chunk.size > left)
        if count:
            what = "is lost" if not left else f"has {left} of its {pack.size} bytes"
            log.error(
                "pack %s of entity %s %s: %s chunks of it count as missing until they are uploaded again",
                pack.pack_id, pack.entity_id, what, count,
            )  # fmt: skip


def quarantine(session: Session, piece: ChunkRange) -> None:
    """Quarantines a chunk whose bytes do not match its digest."""
    _quarantine(
        session,
        Chunk.entity_id == piece.entity_id,
        Chunk.digest == piece.digest,
        Chunk.pack_id == piece.pack_id,
    )


def is_lost(session: Session, piece: ChunkRange) -> bool:
    """Whether the bytes are lost. Raises PacksUnconfirmed if the pack was not checked yet."""
    require_confirmed(session, [piece.pack_id])
    row = select(Chunk.quarantined_at).where(
        Chunk.entity_id == piece.entity_id, Chunk.digest == piece.digest, Chunk.pack_id == piece.pack_id
    )
    return session.scalar(row) is not None


def error(what: str, piece: ChunkRange) -> errors.ChunkCorrupt:
    """The error for bytes that cannot be read, with what to do."""
    return errors.ChunkCorrupt(f"{what}; {_HELP}", metadata={"chunk": piece.digest.hex(), "pack": piece.key})


def _quarantine(session: Session, *which: ColumnElement[bool]) -> int:
    done = session.connection().execute(
        update(Chunk).where(*which, Chunk.quarantined_at.is_(None)).values(quarantined_at=now(session))
    )
    return int(done.rowcount)
