"""Files are complete: their chunks follow each other, add up to the size and hash to the digest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import Table, select

from modelyard_server.db import tables
from modelyard_server.fsck import touched
from modelyard_server.fsck.rows.digests import FileDigest
from modelyard_server.fsck.scan import Groups, Scan

_F, _FC, _K = (cast(Table, row.__table__) for row in (tables.File, tables.FileChunk, tables.Chunk))
_FILES = select(
    _F.c.id, _F.c.entity_id, _F.c.digest, _F.c.sha256, _F.c.size, _F.c.next_chunk
).order_by(_F.c.id)  # fmt: skip
_CHUNKS = (
    select(_FC.c.file_id, _FC.c.idx, _FC.c.start, _K.c.digest, _K.c.size, _K.c.entity_id)
    .join_from(_FC, _K, _K.c.id == _FC.c.chunk_id)
    .order_by(_FC.c.file_id, _FC.c.idx)
)


def check(scan: Scan) -> None:
    """Checks every file."""
    chunks = Groups(scan.rows(_CHUNKS))
    for file in scan.rows(_FILES, counted=True):
        problem = _problem(file, chunks.take(file[0]))
        if problem:
            about = {"file_id": file[0], "digest": bytes(file[2]).hex()}
            scan.add("file_broken", f"a file {problem}", about, touched.by_file(scan.session, file[0]))


def _problem(file: Any, chunks: Iterator[Any]) -> str:
    _, entity_id, digest, sha256, size, next_chunk = file
    computed = FileDigest()
    count = end = 0
    first = b""
    for _, index, start, chunk_digest, chunk_size, chunk_entity in chunks:
        if index != count:
            return f"has no chunk {count}, and a chunk {index}"
        if start != end:
            return f"has a chunk {index} that begins at byte {start}, and the one before ends at {end}"
        if chunk_entity != entity_id:
            return f"has a chunk {index} of another entity"
        first = first or chunk_digest
        computed.add(chunk_digest, chunk_size)
        count, end = count + 1, end + chunk_size
    if next_chunk is not None:  # it is being stored: nothing else is promised yet
        return "" if count == next_chunk else f"has {count} chunks stored, and says {next_chunk}"
    if end != size:
        return f"has chunks of {end} bytes, and {size} bytes"
    if computed.value != digest:
        return "has chunks that do not have its digest"
    # The bytes of a file of one chunk are those of the chunk.
    return "has another SHA-256 than its only chunk" if count == 1 and sha256 not in (None, first) else ""
