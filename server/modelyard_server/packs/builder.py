"""A pack while it is filled, and the checks that every chunk passes on its way into one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from modelyard.contract import chunking, errors
from modelyard.contract.limits import UPLOAD_MESSAGE_DATA_BYTES
from modelyard_server import failpoints
from modelyard_server.observability import telemetry
from modelyard_server.packs.store import OpenPack, PackStore


class PackedChunk(NamedTuple):
    """The position of a chunk in a pack; digest of 32 raw bytes, offset and size in bytes."""

    digest: bytes
    offset: int
    size: int


class PackBuilder:
    """The pack that a stream fills: its bytes, its chunks' positions, and its share of the budget."""

    def __init__(self, store: PackStore, opened_at: float = 0.0) -> None:
        self._store = store
        self.opened_at = opened_at
        """When it was opened, in seconds of the event loop's clock."""
        self._bytes: OpenPack | None = None
        self.size = 0
        """Bytes handed to it and not refused, including a message that is still being verified."""
        self.received = 0
        """Chunks received, repeated ones included; acknowledgements count these."""
        self.chunks: dict[bytes, PackedChunk] = {}
        """Each digest once, in the order of offsets."""
        self.held = 0
        """Bytes of the budget that it holds."""
        self.is_sealed = False
        """Whether it is durable and its chunk rows are committed."""
        self._is_torn = False

    def add(
        self, chunks: Sequence[chunking.Chunk], data: bytes | memoryview, hashed_here: bool = False
    ) -> None:
        """Verifies a message and appends all of it, or nothing. Blocks.

        With `hashed_here` the server computed the digests itself, and verification is skipped.
        """
        if not hashed_here:
            verify(chunks, data)
        if self._bytes is None:
            self._bytes = self._store.open()
        offset = self._bytes.size
        self._is_torn = True
        self._bytes.append(data)
        self._is_torn = False
        for chunk in chunks:
            self.chunks.setdefault(chunk.digest, PackedChunk(chunk.digest, offset, chunk.size))
            offset += chunk.size
        self.received += len(chunks)

    @property
    def is_whole(self) -> bool:
        """Whether it holds bytes, all of them verified, and may be put."""
        return bool(self.chunks) and not self._is_torn

    def put(self, key: str) -> None:
        """Makes the bytes durable. Blocks."""
        if self._bytes is None:
            raise ValueError("nothing was added to the pack")
        failpoints.hit("writer.before_put")
        with telemetry.step("store put", telemetry.PACK_SECONDS, "put"):
            self._bytes.put(key)
        failpoints.hit("writer.after_put")

    def discard(self) -> None:
        """Frees what the store holds of the open pack. A pack that was put stays. Blocks."""
        if self._bytes is not None:
            self._bytes.discard()


def check_message(chunks: Sequence[chunking.Chunk], data: bytes | memoryview) -> None:
    """Raises InvalidField unless the chunks are well-formed and add up to `data`."""
    if len(data) > UPLOAD_MESSAGE_DATA_BYTES:
        raise errors.InvalidField.of("data", f"longer than {UPLOAD_MESSAGE_DATA_BYTES} bytes")
    chunking.check_chunks(chunks)
    if (total := sum(chunk.size for chunk in chunks)) != len(data):
        raise errors.InvalidField.of("data", f"has {len(data)} bytes where its chunks have {total}")


def verify(chunks: Sequence[chunking.Chunk], data: bytes | memoryview) -> None:
    """Raises DigestMismatch, with the field, at the first chunk whose bytes do not have its digest."""
    view = memoryview(data)
    start = 0
    for index, chunk in enumerate(chunks):
        end = start + chunk.size
        if hashlib.sha256(view[start:end]).digest() != chunk.digest:  # releases the interpreter's lock
            field, description = f"chunks[{index}]", "the bytes do not match the digest"
            raise errors.DigestMismatch(f"{field}: {description}", violations=[(field, description)])
        start = end
