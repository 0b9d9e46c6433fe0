"""DownloadFile and DownloadFiles: bytes out of packs, with reads ahead of the sender."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any

from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.domain import extents, versions
from modelyard_server.domain.extents import FileInfo, Piece, Range
from modelyard_server.packs.store import PackMissing, PackStore
from modelyard_server.rpc import framing
from modelyard_server.rpc.call import StreamCall
from modelyard_server.rpc.limits import StreamLimit

MESSAGE_BYTES = 1 << 20
READ_BYTES = 4 << 20
READS_AHEAD = 2
READS_TOGETHER = 64
PLAN_BYTES = 2 << 30
"""What is looked up at a time: the plan of a file of any size stays small."""
PLAN_RANGES = 500


class DownloadMethods:
    """The downloads of ModelArtifactService."""

    def __init__(self, store: PackStore, pool: Executor, streams: StreamLimit) -> None:
        self._store = store
        self._reading = pool
        self._download_streams = streams

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # the generated class knows no serialized messages
        with self._download_streams:
            wanted = [Range(request.path, request.offset, request.length)]

            def look_up(session: Session) -> tuple[str, dict[str, FileInfo]]:
                version = versions.find(session, call.principal, request.version_id, request.ref)
                return version.id, extents.files(session, version.id, wanted)

            version_id, files = await call.read(look_up)
            info = files[request.path]
            yield pb.DownloadFileResponse(version_id=version_id, size=info.size, digest=info.digest.hex())
            # Clients in plain stubs do not check chunks, so this call does.
            async for data in self._send(call, files, wanted, verify=True):
                yield framing.data_message(pb.DownloadFileResponse.DATA_FIELD_NUMBER, data)

    async def DownloadFiles(self, request: pb.DownloadFilesRequest, call: StreamCall) -> AsyncIterator[Any]:
        with self._download_streams:
            wanted = [Range(part.path, part.offset, part.length) for part in request.ranges]

            def look_up(session: Session) -> dict[str, FileInfo]:
                version = versions.get(session, call.principal, request.version_id)
                return extents.files(session, version.id, wanted)

            files = await call.read(look_up)
            async for data in self._send(call, files, wanted, verify=False):
                yield framing.data_message(pb.DownloadFilesResponse.DATA_FIELD_NUMBER, data)

    async def _send(
        self, call: StreamCall, files: dict[str, FileInfo], wanted: Sequence[Range], *, verify: bool
    ) -> AsyncIterator[memoryview]:
        """The bytes of the ranges in messages of at most 1 MiB; the next reads go on while one is sent."""
        ahead: deque[asyncio.Future[bytes]] = deque()
        try:
            for batch in batches(files, wanted):
                for runs in _groups(_runs(await _pieces(call, files, batch))):
                    ahead.append(asyncio.ensure_future(self._read(call, runs, verify=verify)))
                    if len(ahead) > READS_AHEAD:
                        for message in _messages(await ahead.popleft()):
                            yield message
            while ahead:
                for message in _messages(await ahead.popleft()):
                    yield message
        finally:
            await _abandon(ahead)

    async def _read(self, call: StreamCall, runs: Sequence[Sequence[Piece]], *, verify: bool) -> bytes:
        """The wanted bytes of the runs, from wherever their chunks lie by now."""
        try:
            try:
                return await self._on_thread(runs, verify=verify)
            except PackMissing:
                return b"".join([await self._read_moved(call, run, verify=verify) for run in runs])
        except _CorruptPiece as corrupt:
            piece = corrupt.piece
            await call.write(lambda session: extents.quarantine(session, piece))
            raise errors.ChunkCorrupt(
                "stored bytes do not match their digest",
                metadata={"chunk": piece.digest.hex(), "pack": piece.key},
            ) from None

    async def _read_moved(self, call: StreamCall, run: Sequence[Piece], *, verify: bool) -> bytes:
        try:
            return await self._on_thread([run], verify=verify)
        except PackMissing:
            moved = await self._relocate(call, run)
            return await self._on_thread([[piece] for piece in moved], verify=verify)

    async def _on_thread(self, runs: Sequence[Sequence[Piece]], *, verify: bool) -> bytes:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, _fetch_all, self._store, runs, verify)

    async def _relocate(self, call: StreamCall, run: Sequence[Piece]) -> list[Piece]:
        moved = await call.read(lambda session: extents.relocate(session, run))
        return list(moved)


async def _pieces(call: StreamCall, files: dict[str, FileInfo], batch: Sequence[Range]) -> list[Piece]:
    return await call.read(lambda session: extents.pieces(session, files, batch))


class _CorruptPiece(Exception):
    """Bytes that do not match the digest of their chunk."""

    def __init__(self, piece: Piece) -> None:
        super().__init__(piece.digest.hex())
        self.piece = piece


def _fetch_all(store: PackStore, runs: Sequence[Sequence[Piece]], verify: bool) -> bytes:
    parts = [_fetch(store, run, verify) for run in runs]
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _fetch(store: PackStore, run: Sequence[Piece], verify: bool) -> bytes:
    """Reads a run; with `verify` all of its chunks are read whole and checked."""
    first, last = run[0], run[-1]
    begin = first.offset if verify else first.offset + first.skip
    end = last.offset + (last.size if verify else last.skip + last.length)
    data = store.read(first.key, begin, end - begin)
    if not verify:
        return data
    view = memoryview(data)
    for piece in run:
        start = piece.offset - begin
        if hashlib.sha256(view[start : start + piece.size]).digest() != piece.digest:
            raise _CorruptPiece(piece)
    return data[first.skip : last.offset - begin + last.skip + last.length]


def batches(files: dict[str, FileInfo], wanted: Sequence[Range]) -> Iterator[list[Range]]:
    """The ranges in groups whose plans are small; a long range becomes several."""
    batch: list[Range] = []
    size = 0
    for path, offset, length in wanted:
        end = offset + length if length else files[path].size
        while offset < end:
            part = min(end - offset, PLAN_BYTES)
            batch.append(Range(path, offset, part))
            size += part
            offset += part
            if size >= PLAN_BYTES or len(batch) >= PLAN_RANGES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _runs(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces that lie end to end in one pack, up to one read."""
    run: list[Piece] = []
    size = 0
    for piece in pieces:
        if run and (size + piece.length > READ_BYTES or not _adjoin(run[-1], piece)):
            yield run
            run, size = [], 0
        run.append(piece)
        size += piece.length
    if run:
        yield run


def _groups(runs: Iterable[list[Piece]]) -> Iterator[list[list[Piece]]]:
    """Runs that one thread reads in a row: bytes that lie scattered cost reads, not messages and threads."""
    group: list[list[Piece]] = []
    size = 0
    for run in runs:
        length = sum(piece.length for piece in run)
        if group and (size + length > READ_BYTES or len(group) >= READS_TOGETHER):
            yield group
            group, size = [], 0
        group.append(run)
        size += length
    if group:
        yield group


def _adjoin(left: Piece, right: Piece) -> bool:
    return (
        left.pack_id == right.pack_id
        and left.offset + left.size == right.offset
        and left.skip + left.length == left.size
        and right.skip == 0
    )


def _messages(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for start in range(0, len(data), MESSAGE_BYTES):
        yield view[start : start + MESSAGE_BYTES]


async def _abandon(reads: deque[asyncio.Future[bytes]]) -> None:
    for read in reads:
        read.cancel()
    for read in reads:
        with contextlib.suppress(asyncio.CancelledError, errors.CommError):
            await read
