"""Index of files that were logged before, so that unchanged ones are not read again.

    file       path → size, times, inode and device when it was read, and its chunks
    listing    digest of paths and status of all files of a version → the version's digest

An entry gives the chunks of a file without reading it. Bytes that have to be
sent are always read and hashed again. The index is optional: if it is damaged,
locked for long, not writable or missing, files are read.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelyard.cache.storage import best_effort, report
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import DIGEST_BYTES
from modelyard.host.local_files import LocalFile

if TYPE_CHECKING:
    import sqlite3

    from modelyard.rpc.records import FileEntry

MAX_BYTES = 64 << 20
"""Size at which the least recently used half is dropped: entries for 1 TB of large or 300,000 small files."""
COARSE_NS = 2_000_000_000
FINE_NS = 50_000_000
_BATCH = 500
_LOCK_SECONDS = 2.0
_DAY = 86_400
_CHUNK = struct.Struct(">32sI")
_COLUMNS = "path, status, chunks, seal, used"
_TABLES = (
    """
    CREATE TABLE IF NOT EXISTS file (
        path BLOB PRIMARY KEY,
        status BLOB NOT NULL,
        chunks BLOB NOT NULL,
        seal BLOB NOT NULL,
        used INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS listing (
        listing BLOB PRIMARY KEY,
        digest BLOB NOT NULL,
        seal BLOB NOT NULL,
        used INTEGER NOT NULL
    )
    """,
)


class Source(Protocol):
    """A file to upload and its state at the time `noted_ns`, before it was read. Times are in nanoseconds."""

    file: LocalFile
    chunks: list[Chunk]
    identity: bytes
    """Size, times, inode and device."""
    changed_ns: int
    noted_ns: int

    @property
    def modified_ns(self) -> int:
        """Modification time."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def recall(self, chunks: list[Chunk]) -> None:
        """Sets the chunks that the index holds for the file."""


class UploadIndex:
    """An SQLite file in the cache folder. Safe for several processes; opened when it is needed."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._wrong: set[bytes] = set()
        """Files to be read although the index has them, since an entry may not be deletable."""
        self._works = True
        """Cleared by the first lock timeout, so that timeouts do not add up."""

    def recall(self, sources: Sequence[Source]) -> None:
        """Sets the chunks of sources that have not changed since they were logged."""
        with self._optional():
            if os.path.exists(self._path):
                with closing(self._open()) as database:
                    self._recall(database, _by_key(sources))

    def remember(self, sources: Sequence[Source]) -> None:
        """Records the chunks of sources that were read, unless a later write might go unnoticed."""
        rows = [_row(source) for source in sources if source.size and is_settled(source)]
        if rows:
            self._insert("file", rows)

    def digest(self, sources: Sequence[Source], references: Sequence[FileEntry]) -> bytes | None:
        """The digest of a version of these files, if none has changed since it was logged."""
        if not sources or self._wrong:
            return None
        listing = _listing(sources, references)
        with self._optional():
            if os.path.exists(self._path):
                with closing(self._open()) as database:
                    query = "SELECT digest, seal FROM listing WHERE listing = ?"
                    for digest, seal in database.execute(query, (listing,)):
                        if len(digest) == DIGEST_BYTES and seal == _seal(listing, digest, b""):
                            return bytes(digest)
        return None

    def remember_digest(
        self, sources: Sequence[Source], references: Sequence[FileEntry], digest: bytes
    ) -> None:
        """Records the digest of a version of these files, under the same condition as `remember`."""
        if sources and all(map(is_settled, sources)):
            listing = _listing(sources, references)
            self._insert("listing", [(listing, digest, _seal(listing, digest, b""), _today())])

    def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        marks = ", ".join("?" * len(rows[0]))
        with self._optional():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(self._open()) as database, database:
                for create in _TABLES:
                    database.execute(create)
                database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
                self._trim(database)

    def forget(self, sources: Sequence[Source]) -> None:
        """Deletes the entries of sources, which were found wrong."""
        self._wrong.update(map(_key, sources))
        with self._optional(), closing(self._open()) as database, database:
            database.execute("DELETE FROM listing")
            database.executemany("DELETE FROM file WHERE path = ?", [(_key(source),) for source in sources])

    @contextmanager
    def _optional(self) -> Iterator[None]:
        """A context that suppresses errors of the database and its file."""
        import sqlite3

        with best_effort(self._path.parent):
            try:
                yield
            except sqlite3.OperationalError as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    self._works = False
                elif code not in {0, sqlite3.SQLITE_ERROR}:  # a missing table is created later
                    report(self._path.parent, error)
            except sqlite3.DatabaseError:
                self._path.unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        import sqlite3

        if not self._works:
            raise sqlite3.OperationalError("it was locked for too long")
        database = sqlite3.connect(self._path, timeout=_LOCK_SECONDS)
        # Durability is not needed: rows that a power cut damages fail their checksum.
        database.execute("PRAGMA synchronous = OFF")
        return database

    def _recall(self, database: sqlite3.Connection, sources: dict[bytes, list[Source]]) -> None:
        today = _today()
        stale: list[tuple[int, bytes]] = []
        for batch in _batches(list(sources)):
            marks = ",".join("?" * len(batch))
            rows = database.execute(f"SELECT {_COLUMNS} FROM file WHERE path IN ({marks})", batch)
            for path, status, chunks, seal, used in rows:
                if seal != _seal(path, status, chunks) or path in self._wrong or len(chunks) % _CHUNK.size:
                    continue
                found = list(map(Chunk._make, _CHUNK.iter_unpack(chunks)))
                total = sum(chunk.size for chunk in found)
                for source in sources[path]:
                    if status == source.identity and source.size == total:
                        source.recall(list(found))
                if used != today:
                    stale.append((today, path))
        if stale:
            with database:
                database.executemany("UPDATE file SET used = ? WHERE path = ?", stale)

    def _trim(self, database: sqlite3.Connection) -> None:
        def number(pragma: str) -> int:
            return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])

        if (number("page_count") - number("freelist_count")) * number("page_size") > self._max_bytes:
            for table in ("file", "listing"):
                database.execute(
                    f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} "
                    f"ORDER BY used, rowid LIMIT (SELECT count(*) / 2 + 1 FROM {table}))"
                )


def is_settled(source: Source) -> bool:
    """Whether a write after the reading began must change the file's times.

    Times have a resolution: two writes within it leave the same times. A file that was
    just written is therefore not recorded: for 2 s, or for 50 ms if its times are finer
    than a millisecond.
    """
    latest = max(source.modified_ns, source.changed_ns)
    step = FINE_NS if source.changed_ns % 1_000_000 else COARSE_NS
    return source.noted_ns - latest > step


def _listing(sources: Sequence[Source], references: Sequence[FileEntry]) -> bytes:
    """A digest of all paths with the status of their files, and of the references."""
    state = hashlib.sha256()
    for source in sources:
        path = source.file.path.encode()
        # Paths contain no NUL, and a status has a fixed length, so different listings differ.
        state.update(path + b"\0" + _key(source) + b"\0" + source.identity)
    for entry in references:
        state.update(f"\0{entry.path}\0{entry.uri}\0{entry.tag}\0{entry.size}\0".encode())
    return state.digest()


def _row(source: Source) -> tuple[bytes, bytes, bytes, bytes, int]:
    path = _key(source)
    chunks = b"".join(_CHUNK.pack(*chunk) for chunk in source.chunks)
    return path, source.identity, chunks, _seal(path, source.identity, chunks), _today()


def _by_key(sources: Sequence[Source]) -> dict[bytes, list[Source]]:
    found: dict[bytes, list[Source]] = {}
    for source in sources:
        if source.size:
            found.setdefault(_key(source), []).append(source)
    return found


def _key(source: Source) -> bytes:
    path = os.fsencode(source.file.source)
    return path if path.startswith(b"/") else os.path.abspath(path)


def _seal(path: bytes, status: bytes, chunks: bytes) -> bytes:
    state = hashlib.blake2b(path, digest_size=8)
    state.update(status)
    state.update(chunks)
    return state.digest()


def _today() -> int:
    return int(time.time()) // _DAY


def _batches(paths: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(paths), _BATCH):
        yield paths[start : start + _BATCH]
