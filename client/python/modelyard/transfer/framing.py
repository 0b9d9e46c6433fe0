"""The calls that carry a file's bytes, without Protobuf's copies; see `contract.framing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelyard.contract import framing
from modelyard.contract.chunking import Buffer, Chunk
from modelyard.rpc.connection import Connection
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2


def upload_chunks_call(connection: Connection) -> Any:
    """UploadChunks, its requests made by `upload_chunks_request`."""
    return connection.channel.stream_stream(
        framing.UPLOAD_CHUNKS,
        response_deserializer=upload_pb2.UploadChunksResponse.FromString,
    )


def download_files_call(connection: Connection) -> Any:
    """DownloadFiles, whose replies are views of their `data`."""
    return connection.channel.unary_stream(
        framing.DOWNLOAD_FILES,
        request_serializer=pb.DownloadFilesRequest.SerializeToString,
        response_deserializer=download_files_data,
    )


def upload_chunks_request(upload_id: str, chunks: Sequence[Chunk], parts: Sequence[Buffer]) -> bytes:
    """A serialized UploadChunksRequest whose `data` is the parts, end to end."""
    head = upload_pb2.UploadChunksRequest(
        upload_id=upload_id,
        chunks=[upload_pb2.Chunk(digest=digest, size_bytes=size) for digest, size in chunks],
    ).SerializeToString()
    return framing.with_bytes(framing.UPLOAD_DATA, *parts, head=head)


def download_files_data(message: bytes) -> memoryview:
    """The `data` of a serialized DownloadFilesResponse."""
    _, start = framing.find_bytes(message, framing.DOWNLOAD_DATA)
    if start:
        return memoryview(message)[start:]
    return memoryview(pb.DownloadFilesResponse.FromString(message).data)
