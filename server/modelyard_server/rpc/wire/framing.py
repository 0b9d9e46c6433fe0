"""Reads requests that carry bytes without Protobuf's copies; see `contract.framing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from modelyard.contract import framing
from modelyard.contract.chunking import Chunk, check_chunks
from modelyard.v1 import upload_pb2


class UploadMessage(NamedTuple):
    """An UploadChunksRequest; `data` is a view of the message as it was received."""

    upload_id: str
    chunks: list[Chunk]
    data: memoryview


def upload_chunks_fast(raw: bytes) -> UploadMessage | None:
    """Reads an UploadChunksRequest of any size in a millisecond at most. Raises DecodeError.

    Returns None for a request with another layout, or with too many chunks.
    """
    begin, start = framing.find_bytes(raw, framing.UPLOAD_DATA, framing.UPLOAD_HEAD)
    if not start:
        return None
    head = upload_pb2.UploadChunksRequest.FromString(raw[:begin])
    return UploadMessage(head.upload_id, _chunks(head), memoryview(raw)[start:])


def upload_chunks_request(raw: bytes) -> UploadMessage:
    """Reads any UploadChunksRequest. Raises DecodeError, InvalidField."""
    known = upload_chunks_fast(raw)
    if known is not None:
        return known
    head = upload_pb2.UploadChunksRequest.FromString(raw)
    # Check before making objects of them: a request of some MB can hold a million invalid chunks.
    check_chunks(Chunk(chunk.digest, chunk.size_bytes) for chunk in head.chunks)
    return UploadMessage(head.upload_id, _chunks(head), memoryview(head.data))


DECODERS: Mapping[str, Callable[[bytes], Any]] = {framing.UPLOAD_CHUNKS: upload_chunks_request}
"""The methods whose requests are read here, with their decoders."""

FAST_DECODERS: Mapping[str, Callable[[bytes], Any]] = {framing.UPLOAD_CHUNKS: upload_chunks_fast}
"""The same for use on the event loop, whatever the size; they return None where they cannot be fast."""


def _chunks(head: upload_pb2.UploadChunksRequest) -> list[Chunk]:
    return [Chunk(chunk.digest, chunk.size_bytes) for chunk in head.chunks]
