"""Downloads small files of a run many at a time, where they are asked for one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.contract import errors
from modelyard.host import forking
from modelyard.rpc.connection import Connection
from modelyard.rpc.metric_scan import Source
from modelyard.rpc.records import RunFile
from modelyard.v1 import run_file_pb2 as pb

SMALL_BYTES = 256 << 10
"""A larger file is downloaded alone."""
AHEAD_BYTES = 4 << 20
"""About the most that is held in memory."""
MOST_BYTES = 4 << 20
"""How much may wait for the rest of a file; a call that sends more is cancelled."""
FIRST_FILES, MOST_FILES = 8, 1_000
"""How many files the first call asks for, and the most; each call asks for twice as many."""


class ReadAhead:
    """The contents of small files of one run, in the order in which they will probably be asked for.

    The first file that is asked for is downloaded alone, unless `certain`: a script may
    want no other. From the second in a row on, further ones come with each.
    """

    def __init__(
        self, connection: Connection, source: Source, files: Sequence[RunFile], *, certain: bool = False
    ) -> None:
        self._connection = connection
        self._source = source
        self._files = files
        self._numbers = {file.path: number for number, file in enumerate(files)}
        self._next = 0 if certain else -1
        """The number of the file that is asked for if they are asked for in a row."""
        self._asked = 0
        """Up to here no further call asks for files."""
        self._count = MOST_FILES if certain else FIRST_FILES
        self._held: dict[str, bytes] = {}
        self._lock = forking.lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadAhead, (self._connection, self._source, ())  # elsewhere each file is downloaded alone

    def take(self, path: str) -> bytes | None:
        """The content of a file; None where it is to be downloaded alone. It is given out once."""
        with self._lock:
            number = self._numbers.get(path)
            if number is None:
                return None
            if number == self._next and number >= self._asked:
                self._fetch(number)
            self._next = number + 1
            return self._held.pop(path, None)

    def of(self, files: Sequence[RunFile]) -> ReadAhead:
        """The same for files of the run that will all be asked for, in their order."""
        return ReadAhead(self._connection, self._source, files, certain=True)

    def _fetch(self, first: int) -> None:
        """Downloads small files from a number on. One that fails is downloaded by a call of its own later.

        That call raises its error.
        """
        wanted = list(self._small(first))
        if len(wanted) < 2:
            return
        self._asked = self._numbers[wanted[-1].path] + 1
        self._held.clear()
        try:
            for file, content in _contents(self._connection, self._source, wanted):
                self._held[file.path] = content
        except errors.Unimplemented:  # an earlier server
            self._count = 0
        except errors.CommError:
            self._count = FIRST_FILES
        else:
            self._count = min(2 * self._count, MOST_FILES)

    def _small(self, first: int) -> Iterator[RunFile]:
        """The next files that are small, as many as one call asks for."""
        left, count = AHEAD_BYTES, self._count
        for file in self._files[first:]:
            if file.size > SMALL_BYTES:
                continue
            left, count = left - file.size, count - 1
            if left < 0 or count < 0:
                return
            yield file


def _contents(
    connection: Connection, source: Source, files: Sequence[RunFile]
) -> Iterator[tuple[RunFile, bytes]]:
    """The contents of files, without those that were replaced meanwhile. Errors: CommError.

    Ends early where one is large by now: memory is bounded.
    """
    request = pb.DownloadRunFilesRequest(run_id=source.run_id, paths=[file.path for file in files])
    if source.attempt:
        request.attempt = source.attempt
    known = {file.path: file for file in files}
    coming: list[pb.RunFile] = []
    data = bytearray()
    call = connection.run_files.DownloadRunFiles(request)
    for reply in call:
        coming += reply.files
        data += reply.data
        if any(file.size_bytes > SMALL_BYTES for file in reply.files) or len(data) > MOST_BYTES:
            call.cancel()
            return
        while coming and len(data) >= coming[0].size_bytes:
            sent = coming.pop(0)
            content = bytes(data[: sent.size_bytes])
            del data[: sent.size_bytes]
            file = known.get(sent.path)
            if file is not None and file.digest == sent.digest:
                yield file, content
