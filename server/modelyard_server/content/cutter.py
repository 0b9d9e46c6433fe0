"""Cuts the files of a simple upload, which arrive as plain bytes, into chunks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from typing import Any

from modelyard.contract import chunking, errors
from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import PLAIN_UPLOAD_DATA_BYTES
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.content.ingest import ChunkIngest
from modelyard_server.domain.content.manifests import Limits, Manifest
from modelyard_server.packs.budget import ByteBudget

WINDOW_BYTES = 8 << 20
SMALL_WINDOW_BYTES = chunking.MAXIMUM_BYTES
"""The window of a call while the budget is spent; one chunk fits."""


class Cutter:
    """Cuts the files of one call into chunks, stores missing ones, and builds the manifest."""

    def __init__(self, ingest: ChunkIngest, pool: Executor, windows: ByteBudget, limits: Limits) -> None:
        self._ingest = ingest
        self._pool = pool
        self._windows = windows
        self._taken = 0
        """Bytes of the budget that the current window holds."""
        self._manifest = Manifest(limits, plain=True)
        self._path = ""
        self._chunks: list[Chunk] = []
        self._buffer = bytearray()
        self._start = 0
        """Where the current file begins in the buffer. Before it are cut chunks that are not stored yet."""
        self._ended: list[Chunk] = []
        self._whole = hashlib.sha256()
        """Of the current file, if it has more than one chunk."""

    async def consume(
        self, first: pb.UploadModelArtifactRequest, stream: AsyncIterator[pb.UploadModelArtifactRequest]
    ) -> Manifest:
        """Returns the manifest once every chunk is durable. Raises InvalidField, UploadExpired."""
        try:
            async with self._ingest:
                await self._begin(first)
                self._buffer += first.data
                first.ClearField("data")  # the caller keeps the message: free its bytes
                await self._cut_if_full()
                async for message in stream:
                    if message.request_id or message.HasField("header"):
                        raise errors.InvalidField.of("header", "is allowed in the first message only")
                    await self._begin(message)
                    self._buffer += message.data
                    del message  # do not hold it while its bytes are stored and the next one is awaited
                    await self._cut_if_full()
                await self._end_file()
                await self._store()
                await self._ingest.close()
            return self._manifest
        finally:
            self._give_back()

    async def _begin(self, message: pb.UploadModelArtifactRequest) -> None:
        """Checks a message, and begins a new file if it names one."""
        if len(message.data) > PLAIN_UPLOAD_DATA_BYTES:
            raise errors.InvalidField.of(
                "data", f"has {len(message.data)} bytes; at most {PLAIN_UPLOAD_DATA_BYTES}"
            )
        if message.path:
            await self._end_file()
            self._manifest.check_path(message.path)
            self._path = message.path
        elif message.data and not self._path:
            raise errors.InvalidField.of(
                "path", "a message with bytes must come after one with the path of their file"
            )

    async def _cut_if_full(self) -> None:
        if len(self._buffer) >= self._window():
            await self._cut(final=False)
            await self._store()

    def _window(self) -> int:
        """How many bytes to collect before cutting and storing them."""
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
        whole = self._whole.digest() if len(self._chunks) > 1 else None
        self._manifest.add_file(self._path, self._chunks, whole_sha256=whole)
        self._path, self._chunks, self._whole = "", [], hashlib.sha256()

    async def _cut(self, *, final: bool) -> None:
        """Cuts the received bytes of the current file, as far as chunk ends are known."""
        if self._start == len(self._buffer):
            return
        loop = asyncio.get_running_loop()
        may_be_one = final and not self._chunks
        chunks = await loop.run_in_executor(
            self._pool, _cut, self._buffer, self._start, final, may_be_one, self._whole
        )
        self._start += sum(chunk.size for chunk in chunks)
        self._chunks += chunks
        self._ended += chunks

    async def _store(self) -> None:
        """Stores the cut chunks, of several small files together, and frees their part of the buffer."""
        ended, self._ended = self._ended, []
        await self._ingest.store(ended, memoryview(self._buffer)[: self._start])
        # Take a new buffer: a thread may still hold a view of the old one, which then cannot be resized.
        self._buffer = self._buffer[self._start :]
        self._start = 0
        self._give_back()


def _cut(buffer: bytearray, start: int, final: bool, may_be_one: bool, whole: Any) -> list[Chunk]:
    """The chunks of a file from `start` on. `whole` is updated with their bytes.

    Not where they are one chunk and the file: its digest is the SHA-256 of the file.
    """
    with memoryview(buffer) as view:  # released on return, since the buffer will be resized
        chunks = chunking.cut(view[start:], final=final)
        if not (may_be_one and len(chunks) == 1):
            whole.update(view[start : start + sum(chunk.size for chunk in chunks)])
        return chunks
