"""The download engine: finds what is missing, downloads it in parallel, verifies every chunk.

    in the folder → in the cache → from the server, by several calls of DownloadFiles
    each file: written to `.modelyard-….part` beside its path, then renamed

Part files of an interrupted download are verified chunk by chunk and continued.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from modelyard.cache.content import Cache, copy_checked
from modelyard.cache.folder_index import FolderIndex
from modelyard.contract import errors
from modelyard.contract.chunking import chunk_digest
from modelyard.host import disk_space
from modelyard.rpc import validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import manifest, whole_manifest
from modelyard.rpc.records import FileEntry
from modelyard.rpc.retry import Retrier
from modelyard.transfer.download_stream import ChunkRange, PartialFile, TaskQueue, fetch
from modelyard.transfer.progress import Progress
from modelyard.transfer.reference_fetcher import ReferenceFetcher
from modelyard.transfer.target_folder import TargetFolder

CALLS = 3
TASK_BYTES = 32 << 20
SMALLEST_TASK_BYTES = 8 << 20
RANGES_PER_TASK = 1_000
REMEDY = "download to a folder on another disk (root=, MODELYARD_ARTIFACT_DIR)"


NOT_CACHED = "the server cannot be reached, and not all of {ref} is in the local cache"


def run(
    connection: Connection | None,
    version: Any,
    root: Path,
    path_prefix: str,
    progress: Progress,
    cache: Cache | None,
    *,
    only: str = "",
    allow_missing_references: bool = False,
) -> Sequence[FileEntry]:
    """See `transfer.download`. Without a connection everything must be in the cache, else RuntimeError."""
    found = entries_of(connection, version, path_prefix, cache)
    entries = [entry for entry in found if entry.path.startswith(path_prefix) and only in {"", entry.path}]
    total = sum(entry.size or 0 for entry in entries)
    progress.start("download", total)
    # Lock the version first: processes that wait for it find the files in the cache afterwards.
    with (
        cache.lock(version.digest) if cache else nullcontext(),
        disk_space.explained(root, total, REMEDY),
        TargetFolder(root) as folder,
    ):
        index = cache.folder_index(root) if cache else FolderIndex(None)
        download = Download(connection, version, folder, index, progress, cache)
        try:
            _fill(download, root, entries, allow_missing_references)
        except OSError as error:
            if error.errno in disk_space.FULL:
                folder.discard_all(entries)
            raise
        finally:
            index.save()
            if cache:
                cache.trim()
    return entries


def _fill(download: Download, root: Path, entries: Sequence[FileEntry], allow_missing: bool) -> None:
    """Downloads files and references that are missing, if there is room for them. Errors: LocalDiskFull."""
    missing = download.missing([entry for entry in entries if not entry.uri])
    needed = sum(entry.size or 0 for entry in missing)
    pointing = [entry for entry in entries if entry.uri]
    if pointing:
        references = download.references(allow_missing)
        pointing = references.missing(pointing)
        needed += sum(entry.size or 0 for entry in pointing)
    free = disk_space.free_bytes(root)
    if free is not None and needed > free:
        disk_space.require(root, needed - download.spared_bytes(missing), REMEDY)
    download.run(missing)
    if pointing:
        references.fetch(pointing)


def entries_of(
    connection: Connection | None, version: Any, path_prefix: str, cache: Cache | None
) -> Sequence[FileEntry]:
    """The entries below the prefix, or more of them, from the cache if it has them. Errors: ReplyInvalid."""
    validation.check_digest(version.digest, "the digest of the version")
    kept = cache.version_index().manifest(version.digest) if cache else None
    if kept is not None:
        return kept
    if connection is None:
        raise RuntimeError(NOT_CACHED.format(ref=_ref(version)))
    if path_prefix:
        return manifest(connection, version.id, path_prefix=path_prefix)
    found = whole_manifest(connection, version)
    if cache:
        cache.version_index().keep_manifest(version.digest, found)
    return found


def _ref(version: Any) -> str:
    return f"{version.entity}/{version.project}/{version.name}:v{version.number}"


class Download:
    """One download into one locked folder."""

    def __init__(
        self,
        connection: Connection | None,
        version: Any,
        folder: TargetFolder,
        index: FolderIndex,
        progress: Progress,
        cache: Cache | None,
    ) -> None:
        self._connection = connection
        self._version = version
        self._folder = folder
        self._index = index
        self._progress = progress
        self._cache = cache
        self._keep = cache is not None

    def missing(self, entries: Sequence[FileEntry]) -> list[FileEntry]:
        """The entries that are not in the folder."""
        return [entry for entry in entries if not self._is_there(entry)]

    def references(self, allow_missing: bool) -> ReferenceFetcher:
        """The fetcher of the same download's references."""
        return ReferenceFetcher(self._folder, self._index, self._progress, allow_missing)

    def spared_bytes(self, missing: Sequence[FileEntry]) -> int:
        """Bytes of missing files that need no new space: partial downloads, replaced files, shared blocks."""
        cache = self._cache
        clones = cache is not None and cache.clones_into(self._folder.descriptor)
        spared = 0
        for entry in missing:
            if cache is not None and clones and cache.holds(entry):
                spared += entry.size or 0
            else:
                spared += self._folder.gathered_bytes(entry) + self._folder.replaced_bytes(entry)
        return spared

    def run(self, missing: Sequence[FileEntry]) -> None:
        """Downloads the entries that `missing` returned. Errors: see `transfer.download`."""
        uncached = [entry for entry in missing if not self._from_cache(entry)]
        if self._cache:
            # A version that would evict most other files is not cached.
            self._keep = sum(entry.size or 0 for entry in uncached) <= self._cache.max_bytes // 2
        first: dict[bytes, FileEntry] = {}
        duplicates = [
            entry for entry in uncached if entry.size and first.setdefault(entry.digest, entry) != entry
        ]
        later = {entry.path for entry in duplicates}
        self._fetch([self._partial(entry) for entry in uncached if entry.path not in later])
        # If the duplicate was modified meanwhile, download the bytes.
        rest = [entry for entry in duplicates if not self._from_duplicate(entry, first[entry.digest])]
        self._fetch([self._partial(entry) for entry in rest])

    def _is_there(self, entry: FileEntry) -> bool:
        found = None if self._folder.is_new else self._folder.status(entry.path)
        if found is None or found.st_size != entry.size:
            return False
        if not self._index.has(entry, found) and not self._has_content(entry):
            return False
        self._progress.advance(found.st_size, found.st_size)
        return True

    def _has_content(self, entry: FileEntry) -> bool:
        """Whether the file has the entry's content, by reading it."""
        descriptor = self._folder.open(entry.path)
        if descriptor is None:
            return False
        try:
            found = os.fstat(descriptor)
            if found.st_size != entry.size or not all(good for _, good in checked(entry, descriptor)):
                return False
        finally:
            os.close(descriptor)
        self._index.note(entry, found)
        return True

    def _from_cache(self, entry: FileEntry) -> bool:
        # Creating an empty file is faster than looking it up.
        cache = self._cache
        if cache is None or not entry.size or not cache.holds(entry):
            return False
        return self._copied(entry, lambda part: cache.take(entry, part))

    def _from_duplicate(self, entry: FileEntry, duplicate: FileEntry) -> bool:
        source = self._folder.open(duplicate.path)
        if source is None:
            return False
        try:
            return self._copied(entry, lambda part: copy_checked(entry, source, part, clones=True))
        finally:
            os.close(source)

    def _copied(self, entry: FileEntry, copy: Callable[[int], bool]) -> bool:
        """Fills the part file by `copy` and puts it in place; False when `copy` could not."""
        part = self._part(entry)
        try:
            if os.fstat(part).st_size:
                return False  # the part file of an interrupted download
            if not copy(part):
                os.ftruncate(part, 0)
                return False
            self._folder.finish(entry)
            self._index.note(entry, os.fstat(part))
        finally:
            os.close(part)
        self._progress.advance(entry.size or 0, entry.size or 0)
        return True

    def _partial(self, entry: FileEntry) -> PartialFile:
        """The entry with the part file of an earlier download."""
        partial = PartialFile(entry, self._part, self._placed)
        look = entry.size and not self._folder.is_new
        part = self._folder.open_part(entry, make=False) if look else None
        if part is None:
            return partial
        try:
            if os.fstat(part).st_size:
                for number, good in checked(entry, part):
                    if good:
                        partial.have(number)
                        size = entry.chunks[number].size
                        self._progress.advance(size, size)
        finally:
            os.close(part)
        return partial

    def _fetch(self, files: Sequence[PartialFile]) -> None:
        total = sum(file.left for file in files)
        for file in files:
            if not file.left:
                file.complete()
        if not total:
            return
        tasks = TaskQueue(plan(files, max(SMALLEST_TASK_BYTES, min(TASK_BYTES, total // (2 * CALLS)))))
        if self._connection is None:
            raise RuntimeError(NOT_CACHED.format(ref=_ref(self._version)))
        retrier = Retrier(self._connection)
        try:
            fetch(self._connection, self._version.id, tasks, retrier, self._progress, calls=CALLS)
        finally:
            for file in files:
                file.close()

    def _part(self, entry: FileEntry) -> int:
        part = self._folder.open_part(entry)
        if part is None:
            raise errors.Error(f"{entry.path!r} cannot be written: the name of its temporary file is taken")
        return part

    def _placed(self, entry: FileEntry, part: int) -> None:
        """Called once every chunk of the entry is in its part file, which is open."""
        self._folder.finish(entry)
        if self._cache and self._keep and entry.size:
            with self._folder.inside(entry.path) as folder:
                self._cache.add(entry, part, folder, entry.path.rpartition("/")[2])
        # Last, since renaming and linking both change the status.
        self._index.note(entry, os.fstat(part))


def checked(entry: FileEntry, file: int) -> Iterator[tuple[int, bool]]:
    """For each chunk its number, and whether an open file has its bytes at its offset."""
    offset = 0
    for number, chunk in enumerate(entry.chunks):
        data = os.pread(file, chunk.size, offset)
        yield number, len(data) == chunk.size and chunk_digest(data) == chunk.digest
        offset += chunk.size


def plan(files: Sequence[PartialFile], task_bytes: int) -> Iterator[list[ChunkRange]]:
    """What is missing, in tasks of about `task_bytes` and at most 1,000 ranges of consecutive chunks."""
    task: list[ChunkRange] = []
    room = task_bytes
    for file in files:
        for chunk in file.missing():
            if task and task[-1].continues(chunk):
                task[-1].add(chunk)
            else:
                task.append(ChunkRange([chunk]))
            room -= chunk.size
            if room <= 0 or len(task) >= RANGES_PER_TASK:
                yield task
                task, room = [], task_bytes
    if task:
        yield task
