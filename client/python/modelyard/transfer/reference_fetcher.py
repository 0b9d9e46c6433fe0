"""Downloads the targets of references into the folder of a download."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from modelyard.cache.folder_index import FolderIndex
from modelyard.contract import errors
from modelyard.host import terminal, waiting
from modelyard.host.file_copies import write_at
from modelyard.references.schemes import scheme_of, store_of
from modelyard.references.store import Store, changed
from modelyard.rpc.records import FileEntry
from modelyard.rpc.retry import Backoff
from modelyard.transfer.progress import Progress
from modelyard.transfer.target_folder import TargetFolder

_THREADS = 8
_READ_BYTES = 1 << 20
_RETRIES = 3
_FIRST_PAUSE = 0.5


class ReferenceFetcher:
    """Fetches references into one folder, each completely or not at all."""

    def __init__(
        self, folder: TargetFolder, index: FolderIndex, progress: Progress, allow_missing: bool
    ) -> None:
        self._folder = folder
        self._index = index
        self._progress = progress
        self._allow_missing = allow_missing

    def missing(self, entries: Sequence[FileEntry]) -> list[FileEntry]:
        """The references that are not in the folder yet."""
        return [entry for entry in entries if not self._is_there(entry)]

    def fetch(self, missing: Sequence[FileEntry]) -> None:
        """Fetches the entries that `missing` returned.

        Errors: ReferenceMissing unless allowed, ReferenceChanged, Error.
        """
        if not missing:
            return
        with ThreadPoolExecutor(min(_THREADS, len(missing))) as pool:
            futures = [pool.submit(self._fetch, entry) for entry in missing]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                _raise_first(futures)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _is_there(self, entry: FileEntry) -> bool:
        if not entry.tag:
            return False  # without a tag its content cannot be checked, so it is fetched every time
        found = self._folder.status(entry.path)
        if found is None or not self._index.has(entry, found):
            return False
        self._progress.advance(entry.size or 0, entry.size or 0)
        return True

    def _fetch(self, entry: FileEntry) -> None:
        store = store_of(scheme_of(entry.uri))
        if store is None:
            terminal.termwarn(
                f"{entry.path!r} is left out: modelyard does not support the scheme of {entry.uri}"
            )
            return
        try:
            self._fetch_with_retries(entry, store)
        except errors.ReferenceMissing as error:
            if not self._allow_missing:
                raise errors.ReferenceMissing(
                    f"{entry.path!r}: {error}; allow_missing_references=True leaves such entries out"
                ) from None
            terminal.termwarn(f"{entry.path!r} is left out: {error}")
        except errors.ReferenceChanged as error:
            raise errors.ReferenceChanged(f"{entry.path!r}: {error}") from None

    def _fetch_with_retries(self, entry: FileEntry, store: Store) -> None:
        backoff = Backoff(first=_FIRST_PAUSE, retries=_RETRIES, give_up=math.inf)
        while True:
            try:
                self._attempt(entry, store)
                return
            except (ConnectionError, TimeoutError) as error:
                pause = backoff.next()
                if pause is None:
                    raise errors.Error(f"{entry.path!r} could not be fetched: {error}") from error
            waiting.pause(pause)

    def _attempt(self, entry: FileEntry, store: Store) -> None:
        part = self._folder.open_part(entry)
        if part is None:
            raise errors.Error(f"{entry.path!r} cannot be written: the name of its temporary file is taken")
        try:
            os.ftruncate(part, 0)
            with store.opened(entry.uri, entry.tag) as body:
                size = 0
                while data := body.read(_READ_BYTES):
                    write_at(part, data, size)
                    size += len(data)
                if body.size is not None and size < body.size:
                    raise ConnectionError(f"{entry.uri}: the connection ended after {size:,} bytes")
                if entry.size is not None and size != entry.size:
                    raise changed(entry.uri, f"{entry.size:,} bytes", f"{size:,}")
            self._folder.finish(entry)
            self._index.note(entry, os.fstat(part))
            self._progress.advance(entry.size or 0)
        except BaseException:
            self._folder.discard(entry)
            raise
        finally:
            os.close(part)


def _raise_first(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()
