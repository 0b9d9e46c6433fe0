"""The simple upload: files arrive as plain bytes, and the server cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from modelyard import chunking, errors
from modelyard.chunking import Chunk
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.domain import uploads
from modelyard_server.domain.manifests import Manifest
from modelyard_server.packs.writer import UploadStream
from modelyard_server.rpc.call import StreamCall
from modelyard_server.rpc.uploads import count_asked

WINDOW_BYTES = 8 << 20
MESSAGE_BYTES = 1 << 20
DATA_LIMIT = 2 << 20


class Cutter:
    """Cuts the files of one call into chunks, stores those that are missing, and collects the manifest."""

    def __init__(self, call: StreamCall, sink: UploadStream, upload_id: str, pool: Executor) -> None:
        self._call = call
        self._sink = sink
        self._upload_id = upload_id
        self._pool = pool
        self._manifest = Manifest()
        self._path = ""
        self._chunks: list[Chunk] = []
        self._buffer = bytearray()
        self._pending: list[tuple[Chunk, bytes]] = []
        self._pending_bytes = 0

    async def consume(
        self, first: pb.UploadModelArtifactRequest, stream: AsyncIterator[pb.UploadModelArtifactRequest]
    ) -> Manifest:
        """The manifest, once every chunk is durable. Raises InvalidField and what the sink raises."""
        async with self._sink:
            await self._take(first)
            async for message in stream:
                if message.HasField("header"):
                    raise errors.InvalidField.of("header", "belongs into the first message only")
                await self._take(message)
            await self._end_file()
            await self._store_pending()
            await self._sink.close()
        return self._manifest

    async def _take(self, message: pb.UploadModelArtifactRequest) -> None:
        if len(message.data) > DATA_LIMIT:
            raise errors.InvalidField.of("data", f"has {len(message.data)} bytes; at most {DATA_LIMIT}")
        if message.path:
            await self._end_file()
            self._path = message.path
        elif message.data and not self._path:
            raise errors.InvalidField.of("path", "bytes came before the path of a file")
        self._buffer += message.data
        if len(self._buffer) >= WINDOW_BYTES:
            await self._cut(final=False)

    async def _end_file(self) -> None:
        if not self._path:
            return
        await self._cut(final=True)
        size = sum(chunk.size for chunk in self._chunks)
        self._manifest.add_file(self._path, self._chunks, size=size)
        self._path, self._chunks = "", []

    async def _cut(self, *, final: bool) -> None:
        if not self._buffer:
            return
        loop = asyncio.get_running_loop()
        parts, end = await loop.run_in_executor(self._pool, _cut, self._buffer, final)
        del self._buffer[:end]
        self._chunks += [chunk for chunk, _ in parts]
        self._pending += parts
        self._pending_bytes += end
        if self._pending_bytes >= WINDOW_BYTES:
            await self._store_pending()

    async def _store_pending(self) -> None:
        """Sends what the server does not have yet; chunks it has are pinned by the question."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        for start in range(0, len(pending), uploads.CHUNKS_PER_CALL):
            part = pending[start : start + uploads.CHUNKS_PER_CALL]
            chunks = [chunk for chunk, _ in part]
            await self._append([part[index] for index in await self._missing(chunks)])

    async def _missing(self, chunks: list[Chunk]) -> list[int]:
        missing = await self._call.write(
            lambda session: uploads.missing(session, self._call.principal, self._upload_id, chunks)
        )
        count_asked(chunks, missing)
        return missing

    async def _append(self, parts: list[tuple[Chunk, bytes]]) -> None:
        message: list[tuple[Chunk, bytes]] = []
        size = 0
        for part in parts:
            if message and size + part[0].size > MESSAGE_BYTES:
                await self._sink.append(
                    [chunk for chunk, _ in message], b"".join(data for _, data in message)
                )
                message, size = [], 0
            message.append(part)
            size += part[0].size
        if message:
            await self._sink.append([chunk for chunk, _ in message], b"".join(data for _, data in message))


def _cut(buffer: bytearray, final: bool) -> tuple[list[tuple[Chunk, bytes]], int]:
    """The chunks at the front of the buffer with their bytes, and where the last of them ends."""
    parts = []
    start = 0
    with memoryview(buffer) as view:
        for end in list(chunking.cut_points(buffer, final=final)):
            data = bytes(view[start:end])
            parts.append((Chunk(chunking.chunk_digest(data), len(data)), data))
            start = end
    return parts, start
