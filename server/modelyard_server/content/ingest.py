"""Stores the chunks that the server itself cuts: missing ones go into packs, each once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from modelyard.contract.chunking import Chunk
from modelyard.contract.limits import CHUNKS_PER_CALL
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import uploads
from modelyard_server.observability import telemetry
from modelyard_server.packs.writer import PackWriter

T = TypeVar("T")

MESSAGE_BYTES = 8 << 20


class WritingCall(Protocol):
    """The call for which chunks are stored."""

    @property
    def principal(self) -> Principal:
        """The caller."""

    def write(self, rule: Callable[[Session], T]) -> Awaitable[T]:
        """Runs a rule in a writing transaction; returns its result once committed."""


class ChunkIngest:
    """Stores the chunks of one call for an upload. Use it as a context manager.

    Chunks are certainly durable only once `close` has returned.
    """

    def __init__(self, call: WritingCall, writer: PackWriter, upload_id: str, entity_id: int) -> None:
        self._call = call
        self._upload_id = upload_id
        self._sink = writer.stream(upload_id, entity_id)
        self._must_copy = writer.store.holds_bytes
        self._seen: set[bytes] = set()
        self._appended = 0

    async def __aenter__(self) -> ChunkIngest:
        await self._sink.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._sink.abort()

    async def settled(self) -> None:
        """Waits until nothing is being stored any more. Call it after the context was left."""
        await self._sink.settled()

    @property
    def appended(self) -> int:
        """Number of chunks that were put into packs."""
        return self._appended

    @property
    def durable(self) -> int:
        """How many of these, from the first on, are durable."""
        return self._sink.durable

    async def close(self) -> None:
        """Waits until all chunks are durable and pinned by the upload."""
        await self._sink.close()

    async def store(self, chunks: Sequence[Chunk], data: memoryview) -> int:
        """Stores the chunks that lie end to end in `data`; returns how many of their bytes were present.

        `data` may be changed afterwards. Raises UploadExpired, and what the pack stream raises.
        """
        missing = set(await self._missing(chunks))
        for batch, start, end in _messages(chunks, missing):
            part = data[start:end]
            await self._sink.append(batch, bytes(part) if self._must_copy else part, hashed_here=True)
            self._appended += len(batch)
        await self._sink.verified()
        return sum(chunk.size for index, chunk in enumerate(chunks) if index not in missing)

    async def _missing(self, chunks: Sequence[Chunk]) -> list[int]:
        """Indexes of the chunks to store. The upload pins those that are present."""
        unseen = [index for index, chunk in enumerate(chunks) if self._is_new(chunk)]
        found: list[int] = []
        for start in range(0, len(unseen), CHUNKS_PER_CALL):
            batch = unseen[start : start + CHUNKS_PER_CALL]
            found += [batch[index] for index in await self._ask([chunks[index] for index in batch])]
        return found

    async def _ask(self, chunks: list[Chunk]) -> list[int]:
        missing = await self._call.write(
            lambda session: uploads.missing(session, self._call.principal, self._upload_id, chunks)
        )
        count_asked(chunks, missing)
        return missing

    def _is_new(self, chunk: Chunk) -> bool:
        """Whether this call has not met the chunk before."""
        if chunk.digest in self._seen:
            return False
        self._seen.add(chunk.digest)
        return True


def count_asked(chunks: Sequence[Chunk], missing: Sequence[int]) -> None:
    """Counts the chunks of a question for missing ones. Call it after the commit."""
    size = sum(chunk.size for chunk in chunks)
    missing_size = sum(chunks[index].size for index in missing)
    telemetry.ASKED_CHUNKS.add(len(missing), "missing")
    telemetry.ASKED_CHUNKS.add(len(chunks) - len(missing), "present")
    telemetry.ASKED_BYTES.add(missing_size, "missing")
    telemetry.ASKED_BYTES.add(size - missing_size, "present")


def _messages(chunks: Sequence[Chunk], missing: set[int]) -> Iterator[tuple[list[Chunk], int, int]]:
    """The missing chunks in batches that are contiguous in the data, each with its start and end."""
    batch: list[Chunk] = []
    start = end = offset = 0
    for index, chunk in enumerate(chunks):
        if index in missing:
            if batch and (offset != end or end - start + chunk.size > MESSAGE_BYTES):
                yield batch, start, end
                batch = []
            if not batch:
                start = offset
            batch.append(chunk)
            end = offset + chunk.size
        offset += chunk.size
    if batch:
        yield batch, start, end
