"""Methods whose messages carry bytes: read and written without Protobuf's copies, see `contract.framing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message

from modelyard.contract import framing
from modelyard.contract.chunking import Chunk
from modelyard.v1 import upload_pb2
from modelyard_server.domain.content import uploads

SCAN_METRIC_HISTORY = "/modelyard.v1.RunService/ScanMetricHistory"
WATCH_EVENTS = "/modelyard.v1.EventService/WatchEvents"


class UploadMessage(NamedTuple):
    """An UploadChunksRequest; `data` is a view of the message as it was received."""

    upload_id: str
    chunks: list[Chunk]
    data: memoryview


def upload_chunks_at_once(raw: bytes) -> UploadMessage | None:
    """Reads an UploadChunksRequest of any size in a millisecond at most. Raises DecodeError.

    None for one that is laid out in another way, or names too many chunks.
    """
    begin, start = framing.find_bytes(raw, framing.UPLOAD_DATA, framing.UPLOAD_HEAD)
    if not start:
        return None
    head = upload_pb2.UploadChunksRequest.FromString(raw[:begin])
    return UploadMessage(head.upload_id, _chunks(head), memoryview(raw)[start:])


def upload_chunks_request(raw: bytes) -> UploadMessage:
    """Reads any UploadChunksRequest. Raises DecodeError, InvalidField."""
    known = upload_chunks_at_once(raw)
    if known is not None:
        return known
    head = upload_pb2.UploadChunksRequest.FromString(raw)
    # Before they are all made into objects: a request of some MB may name a million that are none.
    uploads.check_chunks(Chunk(chunk.digest, chunk.size_bytes) for chunk in head.chunks)
    return UploadMessage(head.upload_id, _chunks(head), memoryview(head.data))


def serialized(message: Message | bytes) -> bytes:
    """A message that may be serialized already."""
    return message if isinstance(message, bytes) else message.SerializeToString()


DECODERS: Mapping[str, Callable[[bytes], Any]] = {framing.UPLOAD_CHUNKS: upload_chunks_request}
"""Methods whose requests are read here, and how."""

AT_ONCE: Mapping[str, Callable[[bytes], Any]] = {framing.UPLOAD_CHUNKS: upload_chunks_at_once}
"""Methods whose requests can mostly be read fast enough for the event loop, however large; else None."""

ENCODERS: Mapping[str, Callable[[Any], bytes]] = dict.fromkeys(
    (framing.DOWNLOAD_FILE, framing.DOWNLOAD_FILES, SCAN_METRIC_HISTORY, WATCH_EVENTS), serialized
)
"""Methods whose handlers may give serialized messages."""


def _chunks(head: upload_pb2.UploadChunksRequest) -> list[Chunk]:
    return [Chunk(chunk.digest, chunk.size_bytes) for chunk in head.chunks]
