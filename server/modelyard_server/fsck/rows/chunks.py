"""Rows of chunks: each lies within a live pack of its entity, beside the others, and is not quarantined."""

from __future__ import annotations

from typing import cast

from sqlalchemy import Table, exists, func, select

from modelyard_server.db import tables
from modelyard_server.fsck import touched
from modelyard_server.fsck.scan import Scan
from modelyard_server.packs.store import pack_key

_K, _P, _FC = (cast(Table, row.__table__) for row in (tables.Chunk, tables.Pack, tables.FileChunk))
_CHUNKS = (
    select(_K.c.pack_id, _K.c.offset, _K.c.size, _K.c.digest, _K.c.entity_id, _P.c.entity_id, _P.c.size)
    .join_from(_K, _P, _P.c.id == _K.c.pack_id)
    .where(_K.c.quarantined_at.is_(None))
    .order_by(_K.c.pack_id, _K.c.offset)
)
_DEAD = (
    select(_P.c.id, _P.c.entity_id, _P.c.state, func.count())
    .join_from(_P, _K, _K.c.pack_id == _P.c.id)
    .where(_P.c.state != "live", _K.c.quarantined_at.is_(None))
    .group_by(_P.c.id, _P.c.entity_id, _P.c.state)
)
_QUARANTINED = (
    select(_P.c.id, _P.c.entity_id, func.count())
    .join_from(_P, _K, _K.c.pack_id == _P.c.id)
    .where(_K.c.quarantined_at.is_not(None), exists().where(_FC.c.chunk_id == _K.c.id))
    .group_by(_P.c.id, _P.c.entity_id)
)


def check(scan: Scan) -> None:
    """Checks every row of a chunk."""
    last, end = "", 0
    for pack_id, offset, size, digest, entity_id, pack_entity, pack_size in scan.rows(_CHUNKS, counted=True):
        if pack_id != last:
            last, end = pack_id, 0
        problem = ""
        if entity_id != pack_entity:
            problem = "is in a pack of another entity"
        elif offset < 0 or size < 1 or offset + size > pack_size:
            problem = f"is at {offset} with {size} bytes, and its pack has {pack_size}"
        elif offset < end:
            problem = f"begins at {offset}, and the one before it ends at {end}"
        end = max(end, offset + size)
        if problem:
            about = {"pack": pack_key(pack_entity, pack_id), "chunk": bytes(digest).hex()}
            which = (_K.c.entity_id == entity_id, _K.c.digest == digest)
            touching = touched.by_chunks(scan.session, *which)
            scan.add("chunk_misplaced", f"a chunk {problem}", about, touching)
    for pack_id, entity_id, state, count in scan.rows(_DEAD):
        what = f"{count} chunks are in a pack whose state is {state}"
        touching = touched.by_chunks(scan.session, _K.c.pack_id == pack_id, _K.c.quarantined_at.is_(None))
        scan.add("pack_not_live", what, {"pack": pack_key(entity_id, pack_id)}, touching)
    for pack_id, entity_id, count in scan.rows(_QUARANTINED):
        what = f"{count} chunks of files are quarantined: log their content again"
        touching = touched.by_chunks(scan.session, _K.c.pack_id == pack_id, _K.c.quarantined_at.is_not(None))
        scan.add("chunk_quarantined", what, {"pack": pack_key(entity_id, pack_id)}, touching)
