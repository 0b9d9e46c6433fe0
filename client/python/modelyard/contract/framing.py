"""Serialized messages that carry bytes, written and read without Protobuf's copies.

Protobuf copies a bytes field into a message and again when it serializes it,
and as often on the way back. That is a sixth to a third of the processor time
of a transfer. These functions put bytes behind a head that Protobuf made, and
find them again. What is on the wire is an ordinary message of the protos; a
message that is laid out in another way is left to Protobuf.
"""

from __future__ import annotations

from collections.abc import Collection

from modelyard.contract.chunking import Buffer

UPLOAD_CHUNKS = "/modelyard.v1.UploadService/UploadChunks"
DOWNLOAD_FILES = "/modelyard.v1.ModelArtifactService/DownloadFiles"

UPLOAD_DATA = 3
"""Number of the field `data` of UploadChunksRequest; fields 1 and 2 come before it."""
UPLOAD_HEAD = (1, 2)
DOWNLOAD_DATA = 1
"""Number of the field `data` of DownloadFilesResponse."""

_LENGTH_DELIMITED = 2
_VARINT_BYTES = 10
_MAX_FIELDS = 2_000


def with_bytes(field: int, *parts: Buffer, head: bytes = b"") -> bytes:
    """A serialized message: `head`, then the bytes field of this number (1 to 15), `parts` end to end."""
    return b"".join((head, _tag(field), varint(sum(map(len, parts))), *parts))


def find_bytes(message: bytes, field: int, before: Collection[int] = ()) -> tuple[int, int]:
    """Offsets where the bytes field of this number begins, and where its content does.

    Both are 0 unless it is the last field, every field in front of it is
    length-delimited with a number of `before`, and there are at most 2,000.
    """
    tag, others = _tag(field)[0], {_tag(number)[0] for number in before}
    at = 0
    for _ in range(_MAX_FIELDS):
        if at >= len(message):
            break
        found = message[at]
        start, length = read_varint(message, at + 1)
        if found == tag and start + length == len(message):
            return at, start
        if found not in others:
            break
        at = start + length
    return 0, 0


def varint(number: int) -> bytes:
    """A number that is not negative in the base-128 encoding of Protobuf."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(message: bytes, start: int) -> tuple[int, int]:
    """Offset behind the varint at `start`, and its value.

    The offset lies behind the message where the varint does not end in it.
    """
    number = 0
    for index in range(start, min(start + _VARINT_BYTES, len(message))):
        number |= (message[index] & 0x7F) << (7 * (index - start))
        if message[index] < 0x80:
            return index + 1, number
    return len(message) + 1, 0


def _tag(field: int) -> bytes:
    return bytes([field << 3 | _LENGTH_DELIMITED])
