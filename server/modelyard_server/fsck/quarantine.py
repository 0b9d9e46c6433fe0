"""Quarantines what was found lost or wrong, so that logging the content again replaces it."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from sqlalchemy import Table, update
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database, now
from modelyard_server.db.tables import Chunk
from modelyard_server.fsck.findings import Corrupt, Finding

_K = cast(Table, Chunk.__table__)


def apply(database: Database, finding: Finding) -> Finding:
    """Quarantines the chunks of a finding that lost bytes; returns it with their number.

    Chunks that were uploaded again since the finding are in another pack, and stay usable.
    """
    loss = finding.loss
    if loss is None:
        return finding
    if isinstance(loss, Corrupt):
        which = (_K.c.id == loss.chunk_id, _K.c.pack_id == loss.pack_id)
    else:
        which = (_K.c.pack_id == loss.pack_id, _K.c.offset + _K.c.size > loss.remaining)

    def rule(session: Session) -> int:
        statement = (
            update(_K).where(*which, _K.c.quarantined_at.is_(None)).values(quarantined_at=now(session))
        )
        return int(session.connection().execute(statement).rowcount)

    return replace(finding, quarantined=database.write(rule))
