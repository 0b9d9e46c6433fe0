"""The files of a run: listed, downloaded and deleted."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from modelyard.arguments import checked_calls
from modelyard.contract import errors
from modelyard.host.local_files import LocalFile
from modelyard.public_runs.read_ahead import SMALL_BYTES, ReadAhead
from modelyard.rpc import messages, retry
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import PAGE_SIZE, pages
from modelyard.rpc.metric_scan import Source
from modelyard.rpc.records import FileEntry, RunFile
from modelyard.transfer.run_file_upload import OneRun, RunFileUpload, status_of
from modelyard.transfer.target_folder import TargetFolder
from modelyard.v1 import run_file_pb2 as pb

_AT_ONCE = 8
"""How many large files are downloaded at the same time."""


def found(
    connection: Connection, source: Source, names: Sequence[str] | None, pattern: str | None
) -> Iterator[PublicFile]:
    """The files of these names, or that match a pattern in which `%` stands for any text, by name."""
    prefix = names[0] if names and len(names) == 1 else (pattern or "").partition("%")[0].partition("_")[0]
    matches = _like(pattern) if pattern else None
    request = pb.ListRunFilesRequest(run_id=source.run_id, path_prefix=prefix, page_size=PAGE_SIZE)
    if source.attempt:
        request.attempt = source.attempt
    for page in pages(connection.run_files.ListRunFiles, request):
        records = [
            record
            for record in map(messages.run_file, page.files)
            if (not names or record.path in names) and (matches is None or matches.fullmatch(record.path))
        ]
        ahead = ReadAhead(connection, source, records)
        yield from (PublicFile(connection, source, record, ahead) for record in records)


def download_all(files: Sequence[PublicFile], root: Path) -> None:
    """Downloads files of one run below a folder. What is there already stays. Errors: as `download`."""
    if not files:
        return
    small = [file for file in files if file.size <= SMALL_BYTES]
    ahead = files[0]._ahead.of([file._record for file in small])
    for file in small:
        PublicFile(file._connection, file._source, file._record, ahead).download(root, exist_ok=True).close()
    large = [file for file in files if file.size > SMALL_BYTES]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for opened in threads.map(lambda file: file.download(root, exist_ok=True), large):
            opened.close()


def upload(connection: Connection, run: OneRun, path: str, root: str) -> str:
    """Sends a file of this machine to a run; returns its name. Errors: as `PublicRun.upload_file`."""
    name = os.path.relpath(path, root).replace(os.sep, "/")
    if name.startswith("../") or os.path.isabs(name):
        raise ValueError(f"upload_file: {path!r} is not in the folder {root!r}; root= is the folder it is in")
    if status_of(path) is None:
        raise errors.LocalFileError(f"upload_file: {path!r} is no file that can be read")
    sender = RunFileUpload(connection, run)
    try:
        sender.send([LocalFile(name, os.path.abspath(path))])
    finally:
        sender.close()
    return name


@checked_calls()
class PublicFile:
    """A file of a run: one that `run.save` sent, or media."""

    def __init__(self, connection: Connection, source: Source, record: RunFile, ahead: ReadAhead) -> None:
        self._connection = connection
        self._source = source
        self._record = record
        self._ahead = ahead

    name = property(lambda self: self._record.path, doc="Its path in the run.")
    size = property(lambda self: self._record.size, doc="Its size in bytes.")
    mimetype = property(lambda self: self._record.media_type, doc="Its media type; empty if not known.")
    digest = property(lambda self: self._record.digest, doc="Digest of its content.")
    updated_at = property(
        lambda self: self._record.update_time.isoformat(), doc="When it was sent: ISO 8601, UTC."
    )

    def download(
        self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False
    ) -> TextIO:
        """Downloads it below `root`, as a whole or not at all, and opens it for reading.

        Its folders are created. Errors: ValueError if there is such a file already, unless
        `replace`, or `exist_ok`, which leaves it; NotFound; LocalFileError.
        """
        path = Path(root, self.name)
        if os.path.lexists(path) and not replace:
            if not exist_ok:
                raise ValueError(f"{path} exists; replace=True replaces it, exist_ok=True leaves it as it is")
            return open(path, encoding="utf-8")
        with TargetFolder(Path(root)) as folder:
            entry = FileEntry(self.name, self.size, bytes.fromhex(self.digest))
            try:
                self._write(folder, entry)
                folder.finish(entry)
            except BaseException:
                folder.discard_all([entry])
                raise
        return open(path, encoding="utf-8")

    def delete(self) -> None:
        """Removes it from the run."""
        request = pb.DeleteRunFilesRequest(run_id=self._source.run_id, paths=[self.name])
        if self._source.attempt:
            request.attempt = self._source.attempt
        self._connection.run_files.DeleteRunFiles(request)

    def _write(self, folder: TargetFolder, entry: FileEntry) -> None:
        descriptor = folder.open_part(entry)
        assert descriptor is not None
        digest = hashlib.sha256()
        with open(descriptor, "r+b") as part:
            part.truncate(0)  # what an earlier download left
            content = self._ahead.take(self.name)
            for data in self._data() if content is None else [content]:
                part.write(data)
                digest.update(data)
            written = part.tell()
        if written != self.size or self._record.sha256 not in {"", digest.hexdigest()}:
            raise errors.DigestMismatch(f"{self.name} arrived with other content than the run has")

    def _data(self) -> Iterator[bytes]:
        """Its bytes; after a break the rest is asked for."""
        request = pb.DownloadRunFileRequest(run_id=self._source.run_id, path=self.name)
        if self._source.attempt:
            request.attempt = self._source.attempt
        retrier = retry.Retrier(self._connection)
        while True:
            channel = self._connection.channel
            try:
                for reply in self._connection.run_files.DownloadRunFile(request):
                    if reply.HasField("file") and reply.file.digest != self.digest:
                        raise errors.Error(f"{self.name} was replaced meanwhile; list the files again")
                    if reply.data:
                        request.offset += len(reply.data)
                        yield reply.data
                return
            except errors.CommError as error:
                retrier.wait(error, channel)

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.mimetype}) {self.size} bytes>"


def _like(pattern: str) -> re.Pattern[str]:
    """A pattern of SQL: `%` stands for any text, `_` for any character."""
    words = {"%": ".*", "_": "."}
    return re.compile("".join(words.get(each) or re.escape(each) for each in pattern), re.DOTALL)
