"""The simple upload: files arrive as plain bytes, and the server cuts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor

from modelyard.contract import chunking, errors
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import PLAIN_UPLOAD_DATA_BYTES
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.content.ingest import ChunkIngest
from modelyard_server.domain.content.manifests import Limits, Manifest
from modelyard_server.packs.budget import ByteBudget

WINDOW_BYTES = 8 << 20
SMALL_WINDOW_BYTES = chunking.MAXIMUM_BYTES
"""The window of a call that finds the budget spent: one chunk fits."""


class Cutter:
    """Cuts the files of one call into chunks, stores those that are missing, and collects the manifest."""

    def __init__(self, storing: ChunkIngest, pool: Executor, windows: ByteBudget, limits: Limits) -> None:
        self._storing = storing
        self._pool = pool
        self._windows = windows
        self._taken = 0
        """Bytes of the budget that the present window holds."""
        self._manifest = Manifest(limits)
        self._path = ""
        self._chunks: list[Chunk] = []
        self._buffer = bytearray()
        self._start = 0
        """Where in the buffer the present file begins; before it lie chunks of files that have ended."""
        self._ended: list[Chunk] = []

    async def consume(
        self, first: pb.UploadModelArtifactRequest, stream: AsyncIterator[pb.UploadModelArtifactRequest]
    ) -> Manifest:
        """The manifest, once every chunk is durable. Raises InvalidField and what storing raises."""
        try:
            async with self._storing:
                await self._begin(first)
                self._buffer += first.data
                first.ClearField("data")  # the caller keeps the message
                await self._cut_if_full()
                async for message in stream:
                    if message.HasField("header"):
                        raise errors.InvalidField.of("header", "belongs into the first message only")
                    await self._begin(message)
                    self._buffer += message.data
                    del message  # not held while its bytes are stored and the next is waited for
                    await self._cut_if_full()
                await self._end_file()
                await self._store()
                await self._storing.close()
            return self._manifest
        finally:
            self._give_back()

    async def _begin(self, message: pb.UploadModelArtifactRequest) -> None:
        """Checks a message and begins the file that it names."""
        if len(message.data) > PLAIN_UPLOAD_DATA_BYTES:
            raise errors.InvalidField.of(
                "data", f"has {len(message.data)} bytes; at most {PLAIN_UPLOAD_DATA_BYTES}"
            )
        if message.path:
            await self._end_file()
            self._path = message.path
        elif message.data and not self._path:
            raise errors.InvalidField.of("path", "bytes came before the path of a file")

    async def _cut_if_full(self) -> None:
        if len(self._buffer) >= self._window():
            await self._cut(final=False)
            await self._store()

    def _window(self) -> int:
        """How many bytes to collect before they are cut and stored."""
        if len(self._buffer) >= SMALL_WINDOW_BYTES and not self._taken:
            more = WINDOW_BYTES - SMALL_WINDOW_BYTES
            if self._windows.try_acquire(more):
                self._taken = more
        return SMALL_WINDOW_BYTES + self._taken

    def _give_back(self) -> None:
        taken, self._taken = self._taken, 0
        self._windows.release(taken)

    async def _end_file(self) -> None:
        if not self._path:
            return
        await self._cut(final=True)
        self._manifest.add_file(self._path, self._chunks)
        self._path, self._chunks = "", []

    async def _cut(self, *, final: bool) -> None:
        """Cuts what has come of the present file, as far as it can be cut yet."""
        if self._start == len(self._buffer):
            return
        loop = asyncio.get_running_loop()
        chunks = await loop.run_in_executor(self._pool, _cut, self._buffer, self._start, final)
        self._start += sum(chunk.size for chunk in chunks)
        self._chunks += chunks
        self._ended += chunks

    async def _store(self) -> None:
        """Stores what was cut, small files together, and makes room."""
        ended, self._ended = self._ended, []
        await self._storing.store(ended, memoryview(self._buffer)[: self._start])
        # Another buffer: a thread may still hold a view of this one, which then cannot change its size.
        self._buffer = self._buffer[self._start :]
        self._start = 0
        self._give_back()


def _cut(buffer: bytearray, start: int, final: bool) -> list[Chunk]:
    with memoryview(buffer) as view:  # gone on return: the buffer is going to grow
        return chunking.cut(view[start:], final=final)
