"""Sends files of a run: many small ones in one commit, large ones by the chunks that the server lacks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from modelyard.contract import errors
from modelyard.host.local_files import LocalFile
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import entry_messages
from modelyard.rpc.records import FileEntry
from modelyard.rpc.retry import Retrier
from modelyard.transfer.file_reader import Source
from modelyard.transfer.progress import Silent
from modelyard.transfer.upload import Upload
from modelyard.v1 import run_file_pb2 as pb
from modelyard.v1 import upload_pb2

MESSAGE_BYTES = 1 << 20
SIMPLE_BYTES = 1 << 20
"""A single file up to this size is sent in one call."""
BUFFER_BYTES = 4 << 20
"""Of each of the four buffers through which files are sent."""
REQUEST_BYTES = 3 << 20
"""A file with more bytes of chunks in its commit is sent in the simple way: messages are limited to 4 MiB."""
CHUNKS_PER_UPLOAD = 10_000
"""An upload that holds more is replaced, so that the server need not keep its pins for a day."""
EXPIRED_UPLOADS = 3

Status = tuple[int, int]


class OneRun(NamedTuple):
    """The attempt of a run that has the files, and the entity and the project of the run."""

    run_id: str
    attempt: int
    entity: str
    project: str


class RunFileUpload:
    """Sends files of one run. Not safe for threads, except `cancel`.

    `progressed` is called with each part that is sent.
    """

    def __init__(
        self, connection: Connection, run: OneRun, progressed: Callable[[], None] = lambda: None
    ) -> None:
        self._connection = connection
        self._run = run
        self._progressed = progressed
        self._retrier: Retrier | None = None
        self._upload: Upload | None = None
        self._upload_id = ""
        self._chunks = 0
        self._cancelled = False

    def send(self, files: Sequence[LocalFile]) -> None:
        """Adds files to the run, or replaces those of the same paths, in one commit.

        The content is that of the time when they are read. A file that changes then, and
        one with very many chunks, is committed apart. Errors: errors.Error, OSError.
        """
        if len(files) == 1:
            status = status_of(files[0].source)
            if status is not None and status[0] <= SIMPLE_BYTES:
                self._send_as_it_is(files[0])
                return
        try:
            self._send_chunks(files)
        except (_Changing, _TooLarge):
            if len(files) == 1:
                self._send_as_it_is(files[0])
            else:  # find the file
                self.send(files[: len(files) // 2])
                self.send(files[len(files) // 2 :])

    def _send_as_it_is(self, file: LocalFile) -> None:
        """Sends a file in one call, also one that changes while it is read; again after a break."""
        self._retrier = Retrier(self._connection)
        while True:
            channel = self._connection.channel
            try:
                self._stream(file)
                return
            except errors.CommError as error:
                if self._cancelled:
                    raise
                self._retrier.wait(error, channel)

    def _stream(self, file: LocalFile) -> None:
        failed: list[OSError] = []
        try:
            with open(file.source, "rb") as raw:
                self._connection.run_files.UploadRunFile(self._messages(raw, file.path, failed))
        except errors.CommError as error:
            # gRPC cancels a call whose requests fail, and does not say why.
            raise (failed[0] if failed else error) from None

    def close(self) -> None:
        """Ends the upload on the server."""
        upload_id, self._upload_id, self._chunks = self._upload_id, "", 0
        if upload_id:
            with suppress(errors.CommError):  # else it expires
                self._connection.uploads.DeleteUpload(upload_pb2.DeleteUploadRequest(upload_id=upload_id))

    def cancel(self) -> None:
        """Ends a `send` that runs soon, with an error, from another thread."""
        self._cancelled = True
        if self._retrier is not None:
            self._retrier.stop()
        if (upload := self._upload) is not None:
            upload.cancel()

    def _send_chunks(self, files: Sequence[LocalFile]) -> None:
        for left in reversed(range(EXPIRED_UPLOADS)):
            try:
                self._send_once([Source.of(file) for file in files])
                return
            except errors.UploadExpired:
                self._upload_id = ""
                if not left:
                    raise

    def _send_once(self, sources: Sequence[Source]) -> None:
        upload = self._upload = Upload(
            self._connection,
            sources,
            self._open_upload,
            _Progress(self._progressed),
            self._upload_id,
            buffer_bytes=BUFFER_BYTES,
        )
        try:
            if self._cancelled:
                raise errors.CommError("the upload was cancelled")
            upload.run(self._commit)
        except errors.LocalFileError:
            raise
        except errors.CommError:
            raise
        except errors.Error as error:  # a file changes while it is read
            raise _Changing from error
        finally:
            self._upload = None
        self._upload_id = upload.upload_id
        self._chunks += sum(len(source.chunks) for source in sources)
        if self._chunks > CHUNKS_PER_UPLOAD:
            self.close()

    def _open_upload(self) -> str:
        request = upload_pb2.CreateUploadRequest(entity=self._run.entity, project=self._run.project)
        return str(self._connection.uploads.CreateUpload(request).upload_id)

    def _commit(self, upload_id: str, entries: Sequence[FileEntry]) -> None:
        for part in _in_requests(entries):
            self._connection.run_files.CommitRunFiles(
                pb.CommitRunFilesRequest(
                    run_id=self._run.run_id,
                    upload_id=upload_id,
                    entries=[message for entry in part for message in entry_messages(entry)],
                    attempt=self._run.attempt,
                )
            )

    def _messages(self, raw: BinaryIO, path: str, failed: list[OSError]) -> Iterator[pb.UploadRunFileRequest]:
        header = pb.RunFileHeader(run_id=self._run.run_id, path=path, attempt=self._run.attempt)
        yield pb.UploadRunFileRequest(header=header)
        try:
            # Bounded: a file may grow faster than it is sent. Files of /proc have no size.
            left = max(os.fstat(raw.fileno()).st_size, SIMPLE_BYTES)
            while data := raw.read(min(left, MESSAGE_BYTES)):
                yield pb.UploadRunFileRequest(data=data)
                left -= len(data)
                self._progressed()
        except OSError as error:
            failed.append(error)
            raise


class _Changing(Exception):
    """A file changes while it is read."""


class _TooLarge(Exception):
    """The commit of a file does not fit a message."""


class _Progress(Silent):
    """Calls a function with each part of an upload that is done."""

    def __init__(self, progressed: Callable[[], None]) -> None:
        self._progressed = progressed

    def advance(self, done: int, already: int = 0) -> None:
        """A part is done."""
        self._progressed()


def status_of(source: str | os.PathLike[str]) -> Status | None:
    """Size and time of the last change of a file; None where there is no regular file."""
    try:
        found = os.stat(source)
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _in_requests(entries: Sequence[FileEntry]) -> Iterator[list[FileEntry]]:
    """The entries in parts that fit a request."""
    part: list[FileEntry] = []
    size = 0
    for entry in entries:
        more = 200 + 3 * len(entry.path) + 48 * len(entry.chunks)
        if more > REQUEST_BYTES:
            raise _TooLarge
        if part and size + more > REQUEST_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += more
    if part:
        yield part
