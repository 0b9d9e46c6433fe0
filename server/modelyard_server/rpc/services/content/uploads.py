"""UploadService: questions for missing chunks, and their upload into packs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import event

from modelyard.contract import errors
from modelyard.contract.chunking import Chunk
from modelyard.v1 import upload_pb2 as pb
from modelyard_server.content.ingest import count_asked
from modelyard_server.domain.content import uploads
from modelyard_server.observability import telemetry
from modelyard_server.packs.writer import PackWriter
from modelyard_server.rpc.dispatch.call import Call, StreamCall
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.dispatch.transactions import RunAgainAfter
from modelyard_server.rpc.wire.framing import UploadMessage


class UploadServicer:
    """UploadService; the rules are in `domain/content/uploads.py`, the bytes go through `packs/writer.py`."""

    def __init__(self, writer: PackWriter, streams: StreamLimit) -> None:
        self._writer = writer
        self._streams = streams

    def CreateUpload(self, request: pb.CreateUploadRequest, call: Call) -> pb.CreateUploadResponse:
        upload = uploads.create(call.session, call.principal, request.entity, request.project)
        expires = Timestamp()
        expires.FromMicroseconds(upload.expires_at)
        return pb.CreateUploadResponse(upload_id=upload.id, expire_time=expires)

    def FindMissingChunks(
        self, request: pb.FindMissingChunksRequest, call: Call
    ) -> pb.FindMissingChunksResponse:
        upload_id = uploads.find(call.session, call.principal, request.upload_id).id
        if upload_id in self._writer.pending_seals:
            raise RunAgainAfter(lambda: self._writer.pending_seals.wait(upload_id))
        chunks = [Chunk(chunk.digest, chunk.size_bytes) for chunk in request.chunks]
        missing = uploads.missing(call.session, call.principal, request.upload_id, chunks)
        if telemetry.is_listening():
            # After the commit, since a transaction that conflicts with another one runs again.
            event.listen(call.session, "after_commit", lambda _: count_asked(chunks, missing), once=True)
        return pb.FindMissingChunksResponse(missing=missing)

    def DeleteUpload(self, request: pb.DeleteUploadRequest, call: Call) -> pb.DeleteUploadResponse:
        uploads.delete(call.session, call.principal, request.upload_id)
        return pb.DeleteUploadResponse()

    async def UploadChunks(
        self, stream: AsyncIterator[Any], call: StreamCall
    ) -> AsyncIterator[pb.UploadChunksResponse]:
        self._streams.enter(call.principal)
        first: UploadMessage | None = await anext(stream, None)
        if first is None:
            return
        upload = await call.read(lambda session: uploads.find(session, call.principal, first.upload_id))
        async with self._writer.stream(upload.id, upload.entity_id) as sink:
            async for durable in sink.exchange(_messages(first, stream)):
                yield pb.UploadChunksResponse(durable_chunks=durable)


async def _messages(
    first: UploadMessage, stream: AsyncIterator[UploadMessage]
) -> AsyncIterator[tuple[list[Chunk], memoryview]]:
    yield first.chunks, first.data
    async for message in stream:
        if message.upload_id:
            raise errors.InvalidField.of("upload_id", "is allowed in the first message only")
        yield message.chunks, message.data
