"""A gRPC server whose replies a test chooses: the generated servicers, with hostile content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from modelyard.contract import chunking
from modelyard.local.v1 import local_pb2, local_pb2_grpc
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import (
    model_artifact_pb2_grpc,
    run_pb2,
    run_pb2_grpc,
    upload_pb2,
    upload_pb2_grpc,
)

PROJECT = "hostile"


def file_entry(path: str, data: bytes, **changes: Any) -> pb.ManifestEntry:
    """An entry of one chunk with these bytes; `changes` override its fields."""
    chunk = chunking.Chunk(chunking.chunk_digest(data), len(data))
    entry = pb.ManifestEntry(
        path=path,
        size_bytes=len(data),
        digest=chunking.file_digest([chunk]).hex(),
        chunks=[upload_pb2.Chunk(digest=chunk.digest, size_bytes=chunk.size)],
    )
    for field, value in changes.items():
        if field == "chunks":
            del entry.chunks[:]
            entry.chunks.extend(value)
        elif value is None:
            entry.ClearField(field)  # type: ignore[arg-type]
        else:
            setattr(entry, field, value)
    return entry


def version_of(entries: Sequence[pb.ManifestEntry], **changes: Any) -> pb.ModelArtifactVersion:
    """The version that has these entries, but for its `changes`."""
    digest = chunking.version_digest(
        chunking.Entry(entry.path, max(entry.size_bytes, 0), bytes.fromhex(entry.digest)) for entry in entries
    )
    fields: dict[str, Any] = {
        "id": "01890000-0000-7000-8000-000000000001",
        "entity": "local",
        "project": PROJECT,
        "name": "model",
        "type": "model",
        "number": 0,
        "digest": digest.hex(),
        "size_bytes": sum(entry.size_bytes for entry in entries),
        "file_count": len(entries),
    }
    return pb.ModelArtifactVersion(**(fields | changes))


class HostileServer(
    model_artifact_pb2_grpc.ModelArtifactServiceServicer,  # type: ignore[misc]  # grpc has no types
    run_pb2_grpc.RunServiceServicer,  # type: ignore[misc]
    upload_pb2_grpc.UploadServiceServicer,  # type: ignore[misc]
    local_pb2_grpc.LocalServiceServicer,  # type: ignore[misc]
):
    """Serves one version, one run, and uploads of which it has every byte. Replies are its attributes."""

    def __init__(self) -> None:
        self.entries: Sequence[pb.ManifestEntry] = [file_entry("model.bin", b"weights")]
        self.version = version_of(self.entries)
        self.run = run_pb2.Run(
            id=self.version.id, name="run", entity="local", project=PROJECT, state=run_pb2.RUN_STATE_RUNNING
        )
        self.data = b"weights"
        self.place = b""
        self._server = grpc.server(ThreadPoolExecutor(8))
        model_artifact_pb2_grpc.add_ModelArtifactServiceServicer_to_server(self, self._server)
        run_pb2_grpc.add_RunServiceServicer_to_server(self, self._server)
        upload_pb2_grpc.add_UploadServiceServicer_to_server(self, self._server)
        local_pb2_grpc.add_LocalServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"grpc://127.0.0.1:{port}"

    def __enter__(self) -> HostileServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def GetModelArtifactVersion(self, request: Any, context: Any) -> Any:  # noqa: N802  # as the proto has it
        return pb.GetModelArtifactVersionResponse(version=self.version)

    def UseModelArtifactVersion(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.UseModelArtifactVersionResponse(version=self.version)

    def ListModelArtifactFiles(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.ListModelArtifactFilesResponse(entries=self.entries)

    def DownloadFiles(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield pb.DownloadFilesResponse(data=self.data)

    def LocateFiles(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        place = local_pb2.LocalRange(path=self.place, offset=0, length=len(self.data))
        yield local_pb2.LocateFilesResponse(ranges=[place])

    def CreateRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        return run_pb2.CreateRunResponse(run=self.run)

    def FinishRun(self, request: Any, context: Any) -> Any:  # noqa: N802
        return run_pb2.FinishRunResponse(run=self.run)

    def CreateUpload(self, request: Any, context: Any) -> Any:  # noqa: N802
        return upload_pb2.CreateUploadResponse(upload_id="upload")

    def FindMissingChunks(self, request: Any, context: Any) -> Any:  # noqa: N802
        return upload_pb2.FindMissingChunksResponse()

    def CommitModelArtifact(self, requests: Any, context: Any) -> Any:  # noqa: N802
        for _ in requests:
            pass
        return pb.CommitModelArtifactResponse(version=self.version, created=True)
