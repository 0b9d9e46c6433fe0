"""Messages full of bytes, written and read without Protobuf's copies.

Protobuf copies a bytes field into the message, and again on the way out; at
gigabytes that is a third of a transfer's processor time. Here the bytes go
between the read buffer and gRPC in one copy. What is written is a normal
message of the proto; what is read falls back on Protobuf when it has more
than the one field.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard.contract.chunking import Buffer, Chunk

if TYPE_CHECKING:
    from modelyard.rpc.manifest import Connection

_UPLOAD_DATA = b"\x1a"  # field 3 of UploadChunksRequest, length-delimited
_DOWNLOAD_DATA = 0x0A  # field 1 of DownloadFilesResponse, length-delimited


def upload_chunks_call(connection: Connection) -> Any:
    """UploadChunks, its requests made by `upload_chunks_request`."""
    from modelyard.v1 import upload_pb2

    return connection.channel.stream_stream(
        "/modelyard.v1.UploadService/UploadChunks",
        response_deserializer=upload_pb2.UploadChunksResponse.FromString,
    )


def download_files_call(connection: Connection) -> Any:
    """DownloadFiles, whose replies are views of their `data`."""
    from modelyard.v1 import model_artifact_pb2 as pb

    return connection.channel.unary_stream(
        "/modelyard.v1.ModelArtifactService/DownloadFiles",
        request_serializer=pb.DownloadFilesRequest.SerializeToString,
        response_deserializer=download_files_data,
    )


def upload_chunks_request(upload_id: str, chunks: Sequence[Chunk], parts: Sequence[Buffer]) -> bytes:
    """A serialized UploadChunksRequest whose `data` is the parts, end to end."""
    from modelyard.v1 import upload_pb2

    head = upload_pb2.UploadChunksRequest(
        upload_id=upload_id, chunks=[upload_pb2.Chunk(digest=digest, size=size) for digest, size in chunks]
    ).SerializeToString()
    length = sum(map(len, parts))
    return b"".join((head, _UPLOAD_DATA, _varint(length), *parts))


def download_files_data(message: bytes) -> memoryview:
    """The `data` of a serialized DownloadFilesResponse."""
    view = memoryview(message)
    if len(message) > 1 and message[0] == _DOWNLOAD_DATA:
        start, length = _read_varint(message, 1)
        if start + length == len(message):
            return view[start:]
    from modelyard.v1 import model_artifact_pb2 as pb

    return memoryview(pb.DownloadFilesResponse.FromString(message).data)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes, start: int) -> tuple[int, int]:
    """Where it ends, and the number; a varint that does not end gives an impossible length."""
    number = 0
    for index in range(start, min(start + 10, len(message))):
        number |= (message[index] & 0x7F) << (7 * (index - start))
        if message[index] < 0x80:
            return index + 1, number
    return len(message), 1
