"""Sends files of runs: many small ones in one commit, large ones by the chunks that the server lacks."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from modelyard.contract import errors
from modelyard.host import allocator, terminal
from modelyard.host.local_files import LocalFile
from modelyard.rpc.connection import Connection
from modelyard.rpc.manifest import entry_messages
from modelyard.rpc.records import FileEntry
from modelyard.sync.destination import Destination, is_refusal
from modelyard.sync.record_drain import Batch
from modelyard.transfer.file_reader import Source
from modelyard.transfer.progress import Silent
from modelyard.transfer.upload import Upload
from modelyard.v1 import run_file_pb2 as pb
from modelyard.v1 import upload_pb2

MESSAGE_BYTES = 1 << 20
SIMPLE_BYTES = 1 << 20
"""A single file up to this size is sent in one call."""
BATCH_FILES = 1_000
BATCH_BYTES = 32 << 20
"""About the most that is committed together; a larger file is committed alone."""
BUFFER_BYTES = 4 << 20
"""Of each of the four buffers through which files are sent."""
REQUEST_BYTES = 3 << 20
"""A file with more bytes of chunks in its commit is sent in the simple way: messages are limited to 4 MiB."""
CHUNKS_PER_UPLOAD = 10_000
"""An upload that holds more is replaced, so that the server need not keep its pins for a day."""
EXPIRED_UPLOADS = 3

Status = tuple[int, int]


class _TooLarge(Exception):
    """The commit of a file does not fit a message."""


class _File(NamedTuple):
    """A file that is sent, and its size and time before it is read."""

    path: str
    source: str
    status: Status


class RunFileSender:
    """Sends the files that FILE records name, with the content that they have then.

    Sending one again replaces it by itself. A file with the policy `end` is sent by
    `rest`, and so is one with `live` that has changed since it was sent. `watched` is
    what `state` returned in a process that went before. Files of one writer that are
    saved again before they are sent are sent once.
    """

    def __init__(
        self,
        connection: Connection,
        destination: Destination,
        owner: tuple[str, str],
        folder: Path,
        watched: Mapping[str, Any] | None = None,
    ) -> None:
        """`owner` is the entity and the project of the run; sources in its `folder` are relative to that."""
        self._connection = connection
        self._destination = destination
        self._owner = owner
        self._folder = folder
        self._watched: dict[str, Any] = dict(watched or {})
        """Source, policy and last sent status of files with the policies `live` and `end`, by path."""
        self._progressed: Callable[[], None] = lambda: None
        self._upload: Upload | None = None
        self._upload_id = ""
        self._chunks = 0
        self._cancelled = False

    def on_progress(self, progressed: Callable[[], None]) -> None:
        """Calls `progressed` with each part of a file that is sent."""
        self._progressed = progressed

    def batches(self, contents: Batch) -> Iterator[Batch]:
        """The files to be sent now, as many together as one commit takes."""
        batch: list[Mapping[str, Any]] = []
        size = 0
        for recorded in {content["path"]: content for content in contents}.values():
            content = {**recorded, "source": os.path.join(self._folder, recorded["source"])}
            self._watch(content)
            if content["policy"] == "end":
                continue
            found = _status(content["source"])
            more = found[0] if found else 0
            if batch and (size + more > BATCH_BYTES or len(batch) == BATCH_FILES):
                yield batch
                batch, size = [], 0
            batch.append(content)
            size += more
        if batch:
            yield batch

    def send(self, batch: Batch) -> None:
        """Sends files. One that cannot be sent is named in a warning. Errors: CommError but refusals."""
        files = [file for file in map(_found, batch) if file is not None]
        self._send(files)
        for file in files:
            if file.path in self._watched:
                self._watched[file.path]["sent"] = list(file.status)

    def rest(self) -> Batch:
        """The watched files that have changed since they were sent, or were not sent yet."""
        changed = []
        for path, kept in self._watched.items():
            status = _status(kept["source"])
            # One that was sent and removed since stays as it was.
            if not kept["sent"] or (status is not None and list(status) != kept["sent"]):
                changed.append({"path": path, "source": kept["source"], "policy": "live"})
        return changed

    def state(self) -> Mapping[str, Any]:
        """The watched files."""
        return {"watched": self._watched}

    def close(self) -> None:
        """Ends the upload on the server."""
        if self._upload_id:
            self._end_upload()

    def cancel(self) -> None:
        """Ends a `send` that runs soon, from another thread."""
        self._cancelled = True
        if (upload := self._upload) is not None:
            upload.cancel()

    def _watch(self, content: Mapping[str, Any]) -> None:
        path, policy = content["path"], content["policy"]
        known = self._watched.pop(path, None)
        if policy == "now":
            return
        sent = known["sent"] if known and known["source"] == content["source"] else None
        self._watched[path] = {"source": content["source"], "sent": sent}

    def _send(self, files: Sequence[_File]) -> None:
        if not files:
            return
        try:
            if len(files) == 1 and files[0].status[0] <= SIMPLE_BYTES:
                self._stream(files[0])
            else:
                self._send_chunks(files)
        except (errors.Error, OSError) as error:
            if isinstance(error, errors.CommError) and not is_refusal(error):
                raise
            if len(files) > 1:  # find the one that is refused
                self._send(files[: len(files) // 2])
                self._send(files[len(files) // 2 :])
            elif isinstance(error, errors.CommError | OSError):
                terminal.warn_once(f"file {files[0].path}", f"the file {files[0].path} is not sent: {error}")
            else:
                self._send_as_it_is(files[0])
        except _TooLarge:
            self._send_as_it_is(files[0])

    def _send_as_it_is(self, file: _File) -> None:
        """Sends a file that changes while it is read."""
        try:
            self._stream(file)
        except (errors.CommError, OSError) as error:
            if isinstance(error, errors.CommError) and not is_refusal(error):
                raise
            terminal.warn_once(f"file {file.path}", f"the file {file.path} is not sent: {error}")

    # By chunks.

    def _send_chunks(self, files: Sequence[_File]) -> None:
        allocator.tune()
        for left in reversed(range(EXPIRED_UPLOADS)):
            sources = [Source.of(LocalFile(file.path, file.source)) for file in files]
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
                    raise errors.CommError("the run has ended")
                upload.run(self._commit)
                break
            except errors.UploadExpired:
                self._upload_id = ""
                if not left:
                    raise
            finally:
                self._upload = None
        self._upload_id = upload.upload_id
        self._chunks += sum(len(source.chunks) for source in sources)
        if self._chunks > CHUNKS_PER_UPLOAD:
            self._end_upload()

    def _commit(self, upload_id: str, entries: Sequence[FileEntry]) -> None:
        for part in _in_requests(entries):
            self._connection.run_files.CommitRunFiles(
                pb.CommitRunFilesRequest(
                    run_id=self._destination.run_id,
                    upload_id=upload_id,
                    entries=[message for entry in part for message in entry_messages(entry)],
                    attempt=self._destination.attempt,
                )
            )

    def _open_upload(self) -> str:
        entity, project = self._owner
        request = upload_pb2.CreateUploadRequest(entity=entity, project=project)
        return str(self._connection.uploads.CreateUpload(request).upload_id)

    def _end_upload(self) -> None:
        upload_id, self._upload_id, self._chunks = self._upload_id, "", 0
        with suppress(errors.CommError):  # else it expires
            self._connection.uploads.DeleteUpload(upload_pb2.DeleteUploadRequest(upload_id=upload_id))

    # In one stream.

    def _stream(self, file: _File) -> None:
        failed: list[OSError] = []
        try:
            with open(file.source, "rb") as raw:
                self._connection.run_files.UploadRunFile(self._messages(raw, file, failed))
        except errors.CommError as error:
            # gRPC cancels a call whose requests fail, and does not say why.
            raise (failed[0] if failed else error) from None

    def _messages(
        self, raw: BinaryIO, file: _File, failed: list[OSError]
    ) -> Iterator[pb.UploadRunFileRequest]:
        header = pb.RunFileHeader(
            run_id=self._destination.run_id, path=file.path, attempt=self._destination.attempt
        )
        yield pb.UploadRunFileRequest(header=header)
        # Bounded: a file may grow faster than it is sent.
        left = max(file.status[0], SIMPLE_BYTES)
        try:
            while data := raw.read(min(left, MESSAGE_BYTES)):
                yield pb.UploadRunFileRequest(data=data)
                left -= len(data)
                self._progressed()
        except OSError as error:
            failed.append(error)
            raise


class _Progress(Silent):
    """Calls a function with each part of an upload that is done."""

    def __init__(self, progressed: Callable[[], None]) -> None:
        self._progressed = progressed

    def advance(self, done: int, already: int = 0) -> None:
        """A part is done."""
        self._progressed()


def _found(content: Mapping[str, Any]) -> _File | None:
    """The file of a record in its present state; None with a warning where there is none."""
    path, source = content["path"], content["source"]
    status = _status(source)
    if status is None:
        why = "is no regular file" if os.path.lexists(source) else "does not exist any more"
        terminal.warn_once(f"file {path}", f"the file {path} is not sent: {source} {why}")
        return None
    return _File(path, source, status)


def _status(source: str) -> Status | None:
    """Size and time of the last change; None where there is no regular file."""
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
