"""Messages full of bytes, read and written without Protobuf's copies.

Protobuf copies a bytes field when it parses a message and again when the field
is read, and as often on the way out: a sixth of the processor time of a
transfer. On the wire nothing differs; a message that is laid out in another
way goes through Protobuf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.message import Message

from modelyard.contract.chunking import Chunk
from modelyard.v1 import upload_pb2
from modelyard_server.domain.content import uploads

UPLOAD_CHUNKS = "/modelyard.v1.UploadService/UploadChunks"
DOWNLOAD_FILE = "/modelyard.v1.ModelArtifactService/DownloadFile"
DOWNLOAD_FILES = "/modelyard.v1.ModelArtifactService/DownloadFiles"
SCAN_METRIC_HISTORY = "/modelyard.v1.RunService/ScanMetricHistory"
WATCH_EVENTS = "/modelyard.v1.EventService/WatchEvents"

_UPLOAD_DATA = 0x1A  # field 3 of UploadChunksRequest, length-delimited
_UPLOAD_HEAD = (0x0A, 0x12)  # its fields 1 and 2, length-delimited
_HEAD_FIELDS = 2_000
_VARINT_BYTES = 10


class UploadMessage(NamedTuple):
    """An UploadChunksRequest; `data` is a view of the message as it was received."""

    upload_id: str
    chunks: list[Chunk]
    data: memoryview


def upload_chunks_at_once(raw: bytes) -> UploadMessage | None:
    """Reads an UploadChunksRequest of any size in a millisecond at most. Raises DecodeError.

    None for one that is laid out in another way, or names too many chunks.
    """
    begin, start = _find_data(raw)
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
    uploads.check_chunks(Chunk(chunk.digest, chunk.size) for chunk in head.chunks)
    return UploadMessage(head.upload_id, _chunks(head), memoryview(head.data))


def data_message(field: int, *data: bytes | memoryview) -> bytes:
    """A serialized message whose bytes field of this number is the data, end to end."""
    return b"".join((bytes([field << 3 | 2]), _varint(sum(map(len, data))), *data))


def serialized(message: Message | bytes) -> bytes:
    """A message that may be serialized already."""
    return message if isinstance(message, bytes) else message.SerializeToString()


DECODERS: Mapping[str, Callable[[bytes], Any]] = {UPLOAD_CHUNKS: upload_chunks_request}
"""Methods whose requests are read here, and how."""

AT_ONCE: Mapping[str, Callable[[bytes], Any]] = {UPLOAD_CHUNKS: upload_chunks_at_once}
"""Methods whose requests can mostly be read fast enough for the event loop, however large; else None."""

ENCODERS: Mapping[str, Callable[[Any], bytes]] = dict.fromkeys(
    (DOWNLOAD_FILE, DOWNLOAD_FILES, SCAN_METRIC_HISTORY, WATCH_EVENTS), serialized
)
"""Methods whose handlers may give serialized messages."""


def _chunks(head: upload_pb2.UploadChunksRequest) -> list[Chunk]:
    return [Chunk(chunk.digest, chunk.size) for chunk in head.chunks]


def _find_data(raw: bytes) -> tuple[int, int]:
    """Where the last field begins and where its bytes do, if it is `data`; zeros for any other layout."""
    at = 0
    for _ in range(_HEAD_FIELDS):
        if at >= len(raw):
            break
        tag = raw[at]
        start, length = _read_varint(raw, at + 1)
        if tag == _UPLOAD_DATA and start + length == len(raw):
            return at, start
        if tag not in _UPLOAD_HEAD:
            return 0, 0
        at = start + length
    return 0, 0


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(raw: bytes, at: int) -> tuple[int, int]:
    """Where the number ends, and the number; behind the end of `raw` for one that does not end."""
    number = 0
    for index in range(at, min(at + _VARINT_BYTES, len(raw))):
        number |= (raw[index] & 0x7F) << (7 * (index - at))
        if raw[index] < 0x80:
            return index + 1, number
    return len(raw) + 1, 0
