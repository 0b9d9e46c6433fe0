"""DownloadFile and DownloadFiles: bytes from packs, read ahead of the sender."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from modelyard.contract import errors, framing, refs
from modelyard.contract.limits import PATH_BYTES
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.content import pack_reads
from modelyard_server.content.pack_reads import CorruptChunk, PackRange, Part
from modelyard_server.domain import fields
from modelyard_server.domain.access.authorize import Action
from modelyard_server.domain.content import damage, file_ranges
from modelyard_server.domain.content.file_ranges import ChunkRange, FileInfo, Range
from modelyard_server.domain.registry import resolve
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.store import PackMissing, PackStore, PackTruncated
from modelyard_server.rpc.dispatch.call import StreamCall
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.wire import arguments

MESSAGE_BYTES = 1 << 20
BLOCKS_AHEAD = 3
PLAN_BYTES = 2 << 30
"""Bytes whose chunks are looked up at a time, which bounds the memory for large files."""
PLAN_RANGES = 500
HASHES_A_MESSAGE = 500
HASHING_SECONDS = 20.0
"""The most seconds between two replies while a large file is hashed."""


class _Block(NamedTuple):
    """A block that is being read, and its bytes in the read-ahead budget."""

    read: asyncio.Task[deque[bytes]]
    taken: int


class DownloadMethods:
    """The methods of ModelArtifactService that send bytes."""

    def __init__(
        self,
        packs: ConfirmedPacks,
        pool: Executor,
        streams: StreamLimit,
        read_ahead: ByteBudget,
        hashing_seconds: float = HASHING_SECONDS,
    ) -> None:
        self._packs = packs
        self._store = packs.store
        self._reading = pool
        self._download_streams = streams
        self._read_ahead = read_ahead
        self._hashing_seconds = hashing_seconds

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        self._download_streams.enter(call.principal)
        arguments.selector(request)
        wanted = _range(request)

        def look_up(session: Session) -> tuple[str, FileInfo]:
            version = resolve.version(
                session, call.principal, id_=request.id, ref=request.ref, action=Action.DOWNLOAD
            ).version
            return version.id, file_ranges.file(session, version.id, wanted)

        version_id, info = await call.read(look_up)
        yield pb.DownloadFileResponse(
            version_id=version_id,
            size_bytes=info.size,
            digest=info.digest.hex(),
            sha256=info.sha256.hex() if info.sha256 else "",
        )
        # Clients that use plain stubs do not verify chunks, so this method does.
        field = pb.DownloadFileResponse.DATA_FIELD_NUMBER
        async for message in self.send(call, {wanted.path: info}, [wanted], field, verify=True):
            yield message

    async def DownloadFiles(self, request: pb.DownloadFilesRequest, call: StreamCall) -> AsyncIterator[Any]:
        self._download_streams.enter(call.principal)
        files, wanted = await wanted_files(call, request.version_id, request.ranges)
        field = pb.DownloadFilesResponse.DATA_FIELD_NUMBER
        async for message in self.send(call, files, wanted, field, verify=False):
            yield message

    async def HashModelArtifactFiles(
        self, request: pb.HashModelArtifactFilesRequest, call: StreamCall
    ) -> AsyncIterator[pb.HashModelArtifactFilesResponse]:
        self._download_streams.enter(call.principal)
        arguments.selector(request)
        fields.check("path_prefix", refs.check_text, request.path_prefix, limit=PATH_BYTES)
        path, version_id = "", request.id
        if request.ref:
            version_id = await call.read(functools.partial(_resolved, call=call, ref=request.ref))
        look_up = functools.partial(
            _files_after, call=call, version_id=version_id, path_prefix=request.path_prefix
        )
        while found := await call.read(functools.partial(look_up, path=path)):
            hashes: list[pb.FileHash] = []
            # Equal files of one page are hashed once; later pages read what was stored.
            hashed: dict[int, bytes] = {}
            for path, info in found:
                sha256 = info.sha256 or hashed.get(info.id)
                if sha256 is None:
                    hashing = asyncio.create_task(self._hash(call, path, info))
                    try:
                        # Known hashes are sent first, then empty replies, since balancers end idle streams.
                        while True:
                            yield pb.HashModelArtifactFilesResponse(files=hashes)
                            hashes = []
                            if (await asyncio.wait([hashing], timeout=self._hashing_seconds))[0]:
                                break
                        sha256 = hashed[info.id] = await hashing
                    finally:
                        await _abandon([hashing])
                hashes.append(pb.FileHash(path=path, sha256=sha256.hex()))
            yield pb.HashModelArtifactFilesResponse(files=hashes)

    async def _hash(self, call: StreamCall, path: str, info: FileInfo) -> bytes:
        """The SHA-256 of a file, made of its stored bytes and remembered."""
        loop = asyncio.get_running_loop()
        whole = hashlib.sha256()
        field = framing.DOWNLOAD_DATA
        wanted = [Range(path)]
        async with contextlib.aclosing(self.send(call, {path: info}, wanted, field, verify=True)) as messages:
            async for message in messages:
                data = memoryview(message)[framing.find_bytes(message, field)[1] :]
                await loop.run_in_executor(self._reading, whole.update, data)
        learned = [(info.id, info.digest, whole.digest())]
        # A server whose disk is full goes on reading.
        with contextlib.suppress(errors.DiskFull):
            await call.write(lambda session: file_ranges.remember_sha256s(session, learned))
        return whole.digest()

    async def send(
        self,
        call: StreamCall,
        files: dict[str, FileInfo],
        wanted: Sequence[Range],
        field: int,
        *,
        verify: bool,
    ) -> AsyncGenerator[bytes]:
        """Yields the bytes of the ranges in encoded messages; reads the next blocks while one is sent.

        One block may always be read; blocks ahead of it need room in the read-ahead budget.
        """
        ahead: deque[_Block] = deque()
        open_ranges: dict[PackRange, asyncio.Task[deque[bytes]]] = {}
        try:
            for batch in batches(files, wanted):
                for block in pack_reads.blocks(await pieces_of(call, files, batch), verify=verify):
                    size = pack_reads.held_bytes(block, verify=verify)
                    while ahead and (len(ahead) > BLOCKS_AHEAD or not self._read_ahead.try_acquire(size)):
                        messages = await ahead[0].read
                        while messages:
                            yield messages.popleft()
                        self._read_ahead.release(ahead.popleft().taken)
                    taken = size if ahead else 0
                    ranges = {part.range for part in block}
                    # A range is read in order: a block waits for the previous one of the same range.
                    after = {open_ranges[each] for each in ranges if each in open_ranges}
                    read = asyncio.create_task(self._read(call, block, after, field, verify=verify))
                    ahead.append(_Block(read, taken))
                    still_open = {each: last for each, last in open_ranges.items() if not each.is_over}
                    open_ranges = still_open | dict.fromkeys(ranges, read)
            while ahead:
                messages = await ahead[0].read
                while messages:
                    yield messages.popleft()
                self._read_ahead.release(ahead.popleft().taken)
        finally:
            await _abandon([block.read for block in ahead])
            self._read_ahead.release(sum(block.taken for block in ahead))
            for each in open_ranges:
                each.close()

    async def _read(
        self,
        call: StreamCall,
        block: Sequence[Part],
        after: set[asyncio.Task[deque[bytes]]],
        field: int,
        *,
        verify: bool,
    ) -> deque[bytes]:
        """The messages of a block, read from the packs where its chunks are now."""
        if after:
            await asyncio.wait(after)
        try:
            try:
                return await self._on_thread(block, field)
            except (PackMissing, PackTruncated):
                moved = [await self._read_moved(call, part, field, verify=verify) for part in block]
                return deque(message for messages in moved for message in messages)
        except CorruptChunk as corrupt:
            piece = corrupt.piece
            await call.write(lambda session: damage.quarantine(session, piece))
            raise damage.error("stored bytes do not match their digest", piece) from None

    async def _read_moved(self, call: StreamCall, part: Part, field: int, *, verify: bool) -> deque[bytes]:
        try:
            return await self._on_thread([part], field)
        except (PackMissing, PackTruncated):
            moved = await call.read(lambda session: file_ranges.relocate(session, part.pieces))
        found: deque[bytes] = deque()
        for piece in moved:
            found += await self._read_piece(call, piece, field, verify=verify)
        return found

    async def _read_piece(
        self, call: StreamCall, piece: ChunkRange, field: int, *, verify: bool
    ) -> deque[bytes]:
        """Reads a piece where it is now; a collector may move it again."""
        while True:
            try:
                return await self._on_thread([Part(PackRange(piece, verify=verify), [piece])], field)
            except (PackMissing, PackTruncated):
                lost = piece
            (piece,) = await call.read(functools.partial(file_ranges.relocate, lost=[lost]))
            if piece == lost:
                raise await self._lost(call, piece)

    async def _lost(self, call: StreamCall, piece: ChunkRange) -> errors.CommError:
        """The error for bytes that the store did not find. Chunks that are surely lost are quarantined."""
        self._packs.forget([piece.pack_id])
        if await call.write(lambda session: damage.is_lost(session, piece)):
            return damage.error("the stored bytes are lost", piece)
        return errors.StoreUnavailable("the store did not find a pack that it should have; repeat the call")

    async def _on_thread(self, block: Sequence[Part], field: int) -> deque[bytes]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, _messages, self._store, block, field)


def _resolved(session: Session, *, call: StreamCall, ref: str) -> str:
    """The id of the version of a ref."""
    return resolve.version(session, call.principal, ref=ref, action=Action.DOWNLOAD).version.id


def _files_after(
    session: Session, *, call: StreamCall, version_id: str, path_prefix: str, path: str
) -> list[tuple[str, FileInfo]]:
    version = resolve.version(session, call.principal, id_=version_id, action=Action.DOWNLOAD).version
    return file_ranges.files_after(session, version.id, path_prefix, path.encode(), HASHES_A_MESSAGE)


async def wanted_files(
    call: StreamCall, version_id: str, ranges: Iterable[pb.FileRange]
) -> tuple[dict[str, FileInfo], list[Range]]:
    """The files of a version by path, and the wanted ranges. Raises NotFound, InvalidField."""
    wanted = [_range(part) for part in ranges]

    def look_up(session: Session) -> dict[str, FileInfo]:
        version = resolve.version(
            session, call.principal, id_=version_id, field="version_id", action=Action.DOWNLOAD
        ).version
        return file_ranges.files(session, version.id, wanted)

    return await call.read(look_up), wanted


def _range(part: pb.DownloadFileRequest | pb.FileRange) -> Range:
    return Range(part.path, part.offset, part.length if part.HasField("length") else None)


async def pieces_of(call: StreamCall, files: dict[str, FileInfo], batch: Sequence[Range]) -> list[ChunkRange]:
    """The chunks of a batch of ranges, in order."""
    return await call.read(lambda session: file_ranges.pieces(session, files, batch))


def _messages(store: PackStore, block: Sequence[Part], field: int) -> deque[bytes]:
    """Reads a block; returns encoded messages with at most 1 MiB of its bytes each."""
    parts: list[bytes] = [part.range.read(store, part.pieces) for part in block]
    if sum(map(len, parts)) <= MESSAGE_BYTES:
        return deque([framing.with_bytes(field, *parts)])
    view = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
    return deque(
        framing.with_bytes(field, view[start : start + MESSAGE_BYTES])
        for start in range(0, len(view), MESSAGE_BYTES)
    )


def batches(files: dict[str, FileInfo], wanted: Sequence[Range]) -> Iterator[list[Range]]:
    """Splits the ranges into batches of at most PLAN_BYTES and PLAN_RANGES; a long range becomes several."""
    batch: list[Range] = []
    size = 0
    for each in wanted:
        path, offset, end = each.path, each.offset, each.end(files[each.path].size)
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


async def _abandon(blocks: Sequence[asyncio.Task[Any]]) -> None:
    for block in blocks:
        block.cancel()
    for block in blocks:
        with contextlib.suppress(asyncio.CancelledError, errors.CommError):
            await block
