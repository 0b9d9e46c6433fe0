"""The manifest of a version in pages, ordered by the bytes of the path.

A page has limits on entries, chunks and bytes, so that its message stays below 4
MiB. A file whose chunks do not fit continues on the next page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from modelyard.contract import refs
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import MANIFEST_PAGE_ENTRIES, PATH_BYTES
from modelyard_server.db import tables
from modelyard_server.db.tables import File, FileChunk, VersionFile
from modelyard_server.db.upserts import batches
from modelyard_server.domain import fields
from modelyard_server.domain.search import paging

DEFAULT_ENTRIES = 1000
CHUNK_LIMIT = 20_000
BYTE_LIMIT = 2_500_000
"""Bytes of names and digests in a page; 20,000 chunks add 800,000."""

_POSITION = (VersionFile.path.expression, paging.KEY)


class FileEntry(NamedTuple):
    """An entry of a manifest, or a part of one: `continued` if its first chunks were on an earlier page."""

    path: str
    size: int | None
    digest: bytes | None
    sha256: bytes | None
    uri: str
    tag: str
    chunks: Sequence[Chunk]
    continued: bool


@dataclass
class _Slice:
    """The chunks from `first` to before `end` of the file in a row of the manifest."""

    row: Row[VersionFile, bytes, bytes | None]
    first: int
    end: int


def page(
    session: Session,
    version_id: str,
    *,
    path_prefix: str,
    include_chunks: bool,
    page_size: int,
    page_token: str,
) -> tuple[list[FileEntry], str]:
    """One page, and the token of the next; empty on the last. Raises InvalidField, InvalidPageToken."""
    fields.check("path_prefix", refs.check_text, path_prefix, limit=PATH_BYTES)
    size = paging.check_size(page_size, default=DEFAULT_ENTRIES, limit=MANIFEST_PAGE_ENTRIES)
    binding = ("files", version_id, path_prefix, include_chunks)
    path, index = paging.decode(page_token, binding, _POSITION) if page_token else (b"", 0)
    rows = _rows(session, version_id, path_prefix.encode(), path, size + 1)
    slices, following = _cut(rows, _counts(session, rows) if include_chunks else {}, path, index, size)
    chunks = _chunks(session, slices) if include_chunks else {}
    entries = [_entry(part, chunks.get(number, ())) for number, part in enumerate(slices)]
    return entries, paging.encode(binding, following) if following else ""


def _rows(
    session: Session, version_id: str, prefix: bytes, start: bytes, limit: int
) -> Sequence[Row[VersionFile, bytes, bytes | None]]:
    query = (
        select(VersionFile, File.digest, File.sha256)
        .outerjoin(File, File.id == VersionFile.file_id)
        .where(VersionFile.version_id == version_id, VersionFile.path >= max(prefix, start))
    )
    if prefix:
        # No byte of UTF-8 is 0xFF, so the last byte can be incremented.
        query = query.where(VersionFile.path < prefix[:-1] + bytes([prefix[-1] + 1]))
    return session.execute(query.order_by(VersionFile.path).limit(limit)).all()


def _counts(session: Session, rows: Sequence[Row[VersionFile, bytes, bytes | None]]) -> Mapping[int, int]:
    """Number of chunks by file."""
    counts: dict[int, int] = {}
    for batch in batches(sorted({row[0].file_id for row in rows if row[0].file_id is not None})):
        # Indexes are consecutive from 0, so the last one gives the number.
        last = select(FileChunk.file_id, func.max(FileChunk.idx)).where(FileChunk.file_id.in_(batch))
        counts |= {row[0]: row[1] + 1 for row in session.execute(last.group_by(FileChunk.file_id))}
    return counts


def _cut(
    rows: Sequence[Row[VersionFile, bytes, bytes | None]],
    counts: Mapping[int, int],
    path: bytes,
    index: int,
    size: int,
) -> tuple[list[_Slice], tuple[bytes, int] | None]:
    """The entries that fit the page, and the position of the next one."""
    slices: list[_Slice] = []
    room, left = CHUNK_LIMIT, BYTE_LIMIT
    for row in rows:
        first = index if row[0].path == path else 0
        count = counts.get(row[0].file_id or 0, 0)
        left -= len(row[0].path) + len(row[0].uri or "") * 4 + len(row[0].tag) * 4 + 160
        if len(slices) == size or (slices and (left < 0 or (room == 0 and count > first))):
            return slices, (row[0].path, first)
        end = min(count, first + room)
        slices.append(_Slice(row, first, end))
        room -= end - first
        if end < count:
            return slices, (row[0].path, end)
    return slices, None


def _chunks(session: Session, slices: Sequence[_Slice]) -> dict[int, list[Chunk]]:
    """The chunks of each slice, by its index in the list."""
    # Only the first and the last slice can be part of a file.
    parts = {number for number in {0, len(slices) - 1} if 0 <= number < len(slices)}
    whole: dict[int, list[int]] = defaultdict(list)
    for number, part in enumerate(slices):
        if number not in parts and part.end > 0:
            whole[part.row[0].file_id or 0].append(number)
    found: dict[int, list[Chunk]] = defaultdict(list)
    query = (
        select(FileChunk.file_id, tables.Chunk.digest, tables.Chunk.size)
        .join(tables.Chunk, tables.Chunk.id == FileChunk.chunk_id)
        .order_by(FileChunk.file_id, FileChunk.idx)
    )
    for number in parts:
        part = slices[number]
        within = FileChunk.idx.between(part.first, part.end - 1)
        rows = session.execute(query.where(FileChunk.file_id == part.row[0].file_id, within))
        found[number] = [Chunk(digest, size) for _, digest, size in rows]
    for batch in batches(sorted(whole)):
        for file_id, digest, size in session.execute(query.where(FileChunk.file_id.in_(batch))):
            for number in whole[file_id]:
                found[number].append(Chunk(digest, size))
    return found


def _entry(part: _Slice, chunks: Sequence[Chunk]) -> FileEntry:
    file, digest, sha256 = part.row
    return FileEntry(
        file.path.decode(), file.size, digest, sha256, file.uri or "", file.tag, chunks, part.first > 0
    )
