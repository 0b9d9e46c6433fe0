"""The positions in packs of the bytes that a download reads, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

from sqlalchemy import Table, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.chunking import MAXIMUM_BYTES
from modelyard.contract.limits import RANGES_PER_CALL
from modelyard_server.db import tables
from modelyard_server.db.tables import File, FileChunk, Pack, VersionFile
from modelyard_server.db.upserts import batches
from modelyard_server.domain.access import owners
from modelyard_server.packs.store import pack_key

_F = cast(Table, File.__table__)
_REMEMBER = (
    _F.update()
    .where(_F.c.id == bindparam("of"), _F.c.digest == bindparam("with_digest"), _F.c.sha256.is_(None))
    .values(sha256=bindparam("sum"))
)


class Range(NamedTuple):
    """Part of a file, clipped at its end. Without a length it goes up to there."""

    path: str
    offset: int = 0
    length: int | None = None

    def end(self, size: int) -> int:
        """The offset after the last byte, in a file of this size."""
        return size if self.length is None else min(size, self.offset + self.length)


class FileInfo(NamedTuple):
    """A file of a version."""

    id: int
    size: int
    digest: bytes
    sha256: bytes | None


class ChunkRange(NamedTuple):
    """The requested bytes of one chunk: `length` bytes from offset `skip`."""

    entity_id: int
    pack_id: str
    offset: int
    size: int
    digest: bytes
    skip: int
    length: int

    @property
    def key(self) -> str:
        """The key of its pack in the store."""
        return pack_key(self.entity_id, self.pack_id)


def file(session: Session, version_id: str, part: Range) -> FileInfo:
    """The file of a request that has one range, in fields of its own. Raises NotFound, InvalidField."""
    found = _find(session, version_id, [part]).get(part.path)
    return checked("", part, found)


def files(session: Session, version_id: str, ranges: Sequence[Range]) -> dict[str, FileInfo]:
    """The files that `ranges` of a request name, by path. Raises NotFound, InvalidField."""
    if len(ranges) > RANGES_PER_CALL:
        raise errors.InvalidField.of("ranges", f"at most {RANGES_PER_CALL:,}")
    found = _find(session, version_id, ranges)
    for index, part in enumerate(ranges):
        checked(f"ranges[{index}].", part, found.get(part.path))
    return found


def _find(session: Session, version_id: str, ranges: Sequence[Range]) -> dict[str, FileInfo]:
    found: dict[str, FileInfo] = {}
    for batch in batches(sorted({part.path for part in ranges})):
        rows = session.execute(
            select(VersionFile.path, File.id, File.size, File.digest, File.sha256)
            .join(File, File.id == VersionFile.file_id)
            .where(
                VersionFile.version_id == version_id, VersionFile.path.in_([path.encode() for path in batch])
            )
        )
        found |= {
            path.decode(): FileInfo(id_, size, digest, sha256) for path, id_, size, digest, sha256 in rows
        }
    return found


def files_after(
    session: Session, version_id: str, path_prefix: str, after: bytes, limit: int
) -> list[tuple[str, FileInfo]]:
    """The next files of a version behind a path, in the order of their bytes; no references."""
    prefix = path_prefix.encode()
    query = (
        select(VersionFile.path, File.id, File.size, File.digest, File.sha256)
        .join(File, File.id == VersionFile.file_id)
        .where(VersionFile.version_id == version_id, VersionFile.path > after, VersionFile.path >= prefix)
    )
    if prefix:
        # No byte of UTF-8 is 0xFF, so the last one can be raised.
        query = query.where(VersionFile.path < prefix[:-1] + bytes([prefix[-1] + 1]))
    rows = session.execute(query.order_by(VersionFile.path).limit(limit))
    return [(path.decode(), FileInfo(id_, size, digest, sha256)) for path, id_, size, digest, sha256 in rows]


def remember_sha256s(session: Session, sums: Sequence[tuple[int, bytes, bytes]]) -> None:
    """Stores the SHA-256 of the plain bytes of files, by id and digest, unless it is known.

    The files come in the order of their digests, in which they are locked.
    """
    if sums:
        rows = [{"of": file_id, "with_digest": digest, "sum": sha256} for file_id, digest, sha256 in sums]
        session.execute(_REMEMBER, rows)


def pieces(session: Session, files: dict[str, FileInfo], ranges: Sequence[Range]) -> list[ChunkRange]:
    """The chunks of the concatenated ranges, in order.

    Raises NotFound if a file was deleted since it was looked up: with its version, by the collector.
    """
    result: list[ChunkRange] = []
    for batch in batches(ranges, 200):
        wanted = [(files[part.path], part.offset, part.end(files[part.path].size)) for part in batch]
        rows = _rows(session, wanted)
        for info, begin, end in wanted:
            found = list(_clip(rows.get(info.id, []), begin, end))
            if sum(piece.length for piece in found) != end - begin:
                raise _deleted()
            result += found
    return result


def relocate(session: Session, lost: Sequence[ChunkRange]) -> list[ChunkRange]:
    """The current positions of chunks whose pack was not found.

    A rewrite moves chunks before it deletes a pack. Chunks that did not move are
    returned unchanged. Raises NotFound if a version was deleted meanwhile.
    """
    rows = session.execute(
        select(tables.Chunk.digest, tables.Chunk.pack_id, tables.Chunk.offset).where(
            tables.Chunk.entity_id == lost[0].entity_id,
            tables.Chunk.digest.in_([piece.digest for piece in lost]),
        )
    )
    places = {digest: (pack_id, offset) for digest, pack_id, offset in rows}
    moved = []
    for piece in lost:
        if piece.digest not in places:
            raise _deleted()
        pack_id, offset = places[piece.digest]
        moved.append(piece._replace(pack_id=pack_id, offset=offset))
    return moved


def _deleted() -> errors.NotFound:
    return errors.NotFound("the version was deleted while it was read")


def checked(prefix: str, part: Range, info: FileInfo | None) -> FileInfo:
    """The file of a range, whose fields in the request begin with `prefix`. Raises NotFound, InvalidField."""
    if info is None:
        raise owners.not_found("file", part.path)
    if not 0 <= part.offset <= info.size:
        raise errors.InvalidField.of(f"{prefix}offset", f"is {part.offset}; the file has {info.size} bytes")
    if part.length is not None and part.length < 0:
        raise errors.InvalidField.of(
            f"{prefix}length", f"is {part.length}; leave it unset to read to the end"
        )
    return info


def _rows(
    session: Session, wanted: Sequence[tuple[FileInfo, int, int]]
) -> dict[int, list[tuple[int, ChunkRange]]]:
    """The chunks that overlap the spans, by file, each with its offset in the file."""
    partial = [
        and_(
            FileChunk.file_id == info.id,
            # No chunk is longer, so the chunk with the byte `begin` starts after this.
            FileChunk.start > begin - MAXIMUM_BYTES,
            FileChunk.start < end,
        )
        for info, begin, end in dict.fromkeys(wanted)
        if info.size > MAXIMUM_BYTES
    ]
    small = {info.id for info, _, _ in wanted if info.size <= MAXIMUM_BYTES}
    rows = session.execute(
        select(
            FileChunk.file_id,
            File.digest,
            FileChunk.start,
            Pack.entity_id,
            Pack.id,
            tables.Chunk.offset,
            tables.Chunk.size,
            tables.Chunk.digest,
        )
        .join(tables.Chunk, tables.Chunk.id == FileChunk.chunk_id)
        .join(Pack, Pack.id == tables.Chunk.pack_id)
        .join(File, File.id == FileChunk.file_id)
        .where(or_(FileChunk.file_id.in_(sorted(small)), *partial))
        .order_by(FileChunk.file_id, FileChunk.start)
    )
    # SQLite gives the id of a deleted file to another one.
    digests = {info.id: info.digest for info, _, _ in wanted}
    found: dict[int, list[tuple[int, ChunkRange]]] = {}
    for file_id, file_digest, start, entity_id, pack_id, offset, size, digest in rows:
        if file_digest != digests[file_id]:
            continue
        whole = ChunkRange(entity_id, pack_id, offset, size, digest, 0, size)
        found.setdefault(file_id, []).append((start, whole))
    return found


def _clip(rows: Sequence[tuple[int, ChunkRange]], begin: int, end: int) -> Iterator[ChunkRange]:
    for start, piece in rows:
        first, last = max(begin, start), min(end, start + piece.size)
        if first < last:
            yield piece._replace(skip=first - start, length=last - first)
