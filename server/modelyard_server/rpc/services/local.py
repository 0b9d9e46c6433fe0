"""LocalService: clients on the server's machine name files instead of sending bytes."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import FILES_PER_CALL
from modelyard.local.v1 import local_pb2 as pb
from modelyard.v1 import upload_pb2
from modelyard_server.content.ingest import ChunkIngest
from modelyard_server.content.local_reader import LocalReader, ReadBuffer
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import uploads
from modelyard_server.domain.content.file_ranges import ChunkRange
from modelyard_server.packs.budget import ByteBudget
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.dispatch.call import Call, StreamCall
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.services.content.downloads import batches, pieces_of, wanted_files

WINDOW_BYTES = 16 << 20
FIRST_WINDOW_BYTES = 4 << 20
"""The size of the first window, so that hashing and writing begin soon; each further window is twice as
long. All windows have this size where the memory budget is spent."""
WINDOWS = 3
"""One is being read, one hashed, one written."""
PATH_LIMIT = 4_096
RANGES_PER_MESSAGE = 2_000


class PackFolder(Protocol):
    """A store whose packs are local files."""

    def path(self, key: str) -> Path:
        """The path of a pack."""


class LocalServicer:
    """LocalService, for owners of the data folder.

    Without a local store `packs` is None, and calls about files fail. `web_link` makes a link to a path
    of the page.
    """

    def __init__(
        self,
        writer: PackWriter,
        packs: PackFolder | None,
        pool: Executor,
        upload_streams: StreamLimit,
        download_streams: StreamLimit,
        memory: ByteBudget,
        web_link: Callable[[str], str],
    ) -> None:
        self._writer = writer
        self._packs = packs
        self._web_link = web_link
        self._pool = pool
        self._upload_streams = upload_streams
        self._download_streams = download_streams
        self._memory = memory

    async def TakeFiles(
        self, request: pb.TakeFilesRequest, call: StreamCall
    ) -> AsyncIterator[pb.TakeFilesResponse]:
        self._packs_for(call.principal)
        _check(request)
        self._upload_streams.enter(call.principal)
        upload = await call.read(lambda session: uploads.find(session, call.principal, request.upload_id))
        async with (
            ChunkIngest(call, self._writer, upload.id, upload.entity_id) as ingest,
            aclosing(_windows(LocalReader(request.files), self._pool, self._memory)) as windows,
        ):
            waiting: deque[tuple[int, pb.TakeFilesResponse]] = deque()
            async for chunks, data in windows:
                present = await ingest.store(chunks, data)
                waiting.append((ingest.appended, _taken(chunks, present)))
                while waiting and waiting[0][0] <= ingest.durable:
                    yield waiting.popleft()[1]
            await ingest.close()
            for _, taken in waiting:
                yield taken

    async def LocateFiles(
        self, request: pb.LocateFilesRequest, call: StreamCall
    ) -> AsyncIterator[pb.LocateFilesResponse]:
        packs = self._packs_for(call.principal)
        self._download_streams.enter(call.principal)
        files, wanted = await wanted_files(call, request.version_id, request.ranges)
        for batch in batches(files, wanted):
            ranges = _ranges(await pieces_of(call, files, batch), packs)
            while part := list(itertools.islice(ranges, RANGES_PER_MESSAGE)):
                yield pb.LocateFilesResponse(ranges=part)

    def OpenWeb(self, request: pb.OpenWebRequest, call: Call) -> pb.OpenWebResponse:
        if not call.principal.owns_folder:
            raise errors.NotAllowed(
                "this call is for clients that have the token of the server's data folder"
            )
        return pb.OpenWebResponse(url=self._web_link(request.path or "/"))

    def _packs_for(self, principal: Principal) -> PackFolder:
        if self._packs is None or not principal.owns_folder:
            raise errors.NotAllowed(
                "this call is for clients that have the token of the server's data folder; send bytes instead"
            )
        return self._packs


def _taken(chunks: Sequence[Chunk], present: int) -> pb.TakeFilesResponse:
    messages = [upload_pb2.Chunk(digest=digest, size_bytes=size) for digest, size in chunks]
    return pb.TakeFilesResponse(chunks=messages, present_bytes=present)


def _check(request: pb.TakeFilesRequest) -> None:
    if len(request.files) > FILES_PER_CALL:
        raise errors.InvalidField.of("files", f"at most {FILES_PER_CALL:,}")
    for index, file in enumerate(request.files):
        if not file.path.startswith(b"/") or b"\0" in file.path or len(file.path) > PATH_LIMIT:
            raise errors.InvalidField.of(
                f"files[{index}].path", f"expected an absolute path of at most {PATH_LIMIT:,} bytes"
            )
        if file.size_bytes < 0:
            raise errors.InvalidField.of(f"files[{index}].size_bytes", "is negative")


async def _windows(
    reader: LocalReader, pool: Executor, memory: ByteBudget
) -> AsyncGenerator[tuple[list[Chunk], memoryview]]:
    """Yields chunks and their bytes, valid until the next. Prepares two more while one is stored."""
    loop = asyncio.get_running_loop()
    longest = max(1, min(WINDOW_BYTES, reader.total))
    taken = WINDOWS * longest if memory.try_acquire(WINDOWS * longest) else 0
    longest = longest if taken else min(longest, FIRST_WINDOW_BYTES)
    windows = itertools.cycle([ReadBuffer(longest) for _ in range(WINDOWS)])
    window, size = next(windows), FIRST_WINDOW_BYTES
    filling: asyncio.Future[list[int]] = loop.run_in_executor(pool, reader.fill, window, size)
    hashing: tuple[asyncio.Future[list[Chunk]], ReadBuffer] | None = None
    try:
        while ends := await asyncio.shield(filling):
            full, window, size = window, next(windows), 2 * size
            filling = loop.run_in_executor(pool, reader.fill, window, size)
            ready, hashing = hashing, (loop.run_in_executor(pool, full.chunks, ends), full)
            if ready is not None:
                yield await asyncio.shield(ready[0]), ready[1].view()
        if hashing is not None:
            yield await asyncio.shield(hashing[0]), hashing[1].view()
    finally:
        await _settled(filling)
        if hashing is not None:
            await _settled(hashing[0])
        reader.close()
        memory.release(taken)


async def _settled(future: asyncio.Future[Any]) -> None:
    """Waits until a thread has finished with the file. Its error is dropped: it was raised already."""
    await asyncio.wait([future])
    future.exception()


def _ranges(pieces: Iterable[ChunkRange], packs: PackFolder) -> Iterator[pb.LocalRange]:
    """The pieces as ranges of pack files; adjacent pieces are joined."""
    begin = end = 0
    key = ""
    for piece in pieces:
        first = piece.offset + piece.skip
        if key and (piece.key != key or first != end):
            yield _range(packs, key, begin, end)
            key = ""
        if not key:
            key, begin = piece.key, first
        end = first + piece.length
    if key:
        yield _range(packs, key, begin, end)


def _range(packs: PackFolder, key: str, begin: int, end: int) -> pb.LocalRange:
    return pb.LocalRange(path=os.fsencode(packs.path(key).absolute()), offset=begin, length=end - begin)
