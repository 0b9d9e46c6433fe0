"""Lets a server on this machine read the files itself: names are sent instead of bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import FILES_PER_CALL
from modelyard.local.v1 import local_pb2 as pb
from modelyard.rpc import validation
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier, StreamEndedEarly
from modelyard.transfer.file_reader import Source
from modelyard.transfer.progress import Progress
from modelyard.transfer.threads import ThreadGroup

PATHS_PER_CALL = 2 << 20
"""Bytes of paths in one request, which must stay below gRPC's 4 MiB."""


def let_server_read(
    connection: Connection,
    upload_id: str,
    sources: Sequence[Source],
    group: ThreadGroup,
    retrier: Retrier,
    progress: Progress,
) -> None:
    """Has the server read the sources that it can: those are `read_by_server` afterwards, others unchanged.

    Errors: UploadExpired, errors that a retry does not help, and those of the thread
    group.
    """
    reader = _ServerReader(connection, upload_id, retrier, progress)
    group.on_failure(reader.cancel)
    # In a thread, so that Ctrl-C does not interrupt gRPC's code.
    group.join([group.start(lambda: reader.run(sources), "local")])


class _ServerReader:
    def __init__(self, connection: Connection, upload_id: str, retrier: Retrier, progress: Progress) -> None:
        self._connection = connection
        self._upload_id = upload_id
        self._retrier = retrier
        self._progress = progress
        self._call: Any = None
        self._cancelled = False

    def run(self, sources: Sequence[Source]) -> None:
        for batch in _batches(sources):
            while batch and not self._cancelled:
                channel = self._connection.channel
                try:
                    self._read(batch)
                except (errors.FileNotTaken, errors.NotAllowed, errors.Unimplemented):
                    return  # fall back to sending the bytes
                except errors.NotFound as error:
                    raise errors.UploadExpired(error.message) from error
                except errors.CommError as error:
                    if not self._cancelled:
                        self._retrier.wait(error, channel)
                batch = [source for source in batch if not source.read_by_server]

    def cancel(self) -> None:
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _read(self, batch: Sequence[Source]) -> None:
        files = [_message(source) for source in batch]
        call = self._call = self._connection.local.TakeFiles(
            pb.TakeFilesRequest(upload_id=self._upload_id, files=files)
        )
        receiver = _Receiver(batch)
        shown = shown_present = 0
        try:
            for reply in call:
                self._retrier.progress()
                size = receiver.feed(reply.chunks)
                self._progress.advance(size, reply.present_bytes)
                shown, shown_present = shown + size, shown_present + reply.present_bytes
        except BaseException:
            call.cancel()
            self._progress.advance(-shown, -shown_present)  # may not be durable: read it again
            raise
        receiver.end()


class _Receiver:
    """Assigns the received chunks to their sources."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._chunks = [list[Chunk]() for _ in sources]
        self._index = 0
        self._left = sources[0].size

    def feed(self, chunks: Sequence[Any]) -> int:
        """Adds chunks; returns their total size. Errors: ReplyInvalid."""
        size = 0
        for chunk in chunks:
            validation.check_chunks([(chunk.digest, chunk.size_bytes)], self._sources[self._index].file.path)
            while not self._left and self._index + 1 < len(self._sources):
                self._index += 1
                self._left = self._sources[self._index].size
            if chunk.size_bytes > self._left:
                validation.refuse(
                    f"chunks of {self._sources[self._index].file.path!r} are longer than the file"
                )
            self._chunks[self._index].append(Chunk(chunk.digest, chunk.size_bytes))
            self._left -= chunk.size_bytes
            size += chunk.size_bytes
        return size

    def end(self) -> None:
        """Checks that all sources are durable. Errors: StreamEndedEarly if some are not."""
        for source, chunks in zip(self._sources, self._chunks, strict=True):
            if sum(chunk.size for chunk in chunks) != source.size:
                raise StreamEndedEarly("the server ended the call before all files were durable")
        for source, chunks in zip(self._sources, self._chunks, strict=True):
            source.set_server_chunks(chunks)


def _message(source: Source) -> pb.LocalFile:
    size, modified, inode = source.status
    path = os.fsencode(os.path.abspath(source.file.source))
    return pb.LocalFile(path=path, size_bytes=size, modified_ns=modified, inode=inode)


def _batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """The sources in parts that fit one request."""
    batch: list[Source] = []
    room = PATHS_PER_CALL
    for source in sources:
        size = len(os.fsencode(os.path.abspath(source.file.source))) + 48
        if batch and (size > room or len(batch) == FILES_PER_CALL):
            yield batch
            batch, room = [], PATHS_PER_CALL
        batch.append(source)
        room -= size
    if batch:
        yield batch
