"""Clients that open many streams and then do nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from modelyard.v1 import event_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.refusals import Refusal, read
from tests.parts.server import LiveServer, Stubs, new_project, stubs_on

SMALL_WINDOWS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_536),
]
"""A client that buffers little of what it does not read."""
MIB = 1 << 20


class IdleStreams:
    """Many streams of one caller, on a channel of their own, which do nothing any more."""

    def __init__(self, server: LiveServer, token: str) -> None:
        self._channel = grpc.insecure_channel(server.address, options=SMALL_WINDOWS)
        self.stubs = stubs_on(self._channel, token)
        self.calls: list[Any] = []
        self.standing = 0
        """Simple uploads that have sent all they are going to."""
        self._over = threading.Event()
        self._lock = threading.Lock()

    def upload(self, count: int) -> None:
        """Opens upload streams that send nothing."""
        for _ in range(count):
            self.calls.append(self.stubs.uploads.UploadChunks(self._silence()))

    def upload_simply(self, count: int, project: str, size: int) -> None:
        """Simple uploads that stop in the middle of a file."""
        for _ in range(count):
            self.calls.append(self.stubs.artifacts.UploadModelArtifact.future(self._part(project, size)))

    def download(self, count: int, version_id: str) -> None:
        """Opens downloads and reads only their beginning."""
        request = pb.DownloadFileRequest(id=version_id, path="w")
        self._begin(count, lambda: self.stubs.artifacts.DownloadFile(request))

    def watch(self, count: int, project: str) -> None:
        """Watches of a quiet project."""
        request = event_pb2.WatchEventsRequest(project=project)
        self._begin(count, lambda: self.stubs.events.WatchEvents(request))

    @property
    def refused(self) -> list[str]:
        """The reasons of those that were refused."""
        found = []
        for call in self.calls:
            if call.done():
                refusal = Refusal()
                read(call, refusal)
                found.append(refusal.reason)
        return found

    def leave(self) -> None:
        """Ends them all."""
        self._over.set()
        self._channel.close()

    def _begin(self, count: int, start: Any) -> None:
        for _ in range(count):
            call = start()
            self.calls.append(call)
            try:
                next(call)
            except grpc.RpcError:
                continue

    def _silence(self) -> Iterator[Any]:
        self._over.wait(60)
        yield from ()

    def _part(self, project: str, size: int) -> Iterator[pb.UploadModelArtifactRequest]:
        yield pb.UploadModelArtifactRequest(header=pb.VersionHeader(project=project, name="m", type="model"))
        yield pb.UploadModelArtifactRequest(path="w")
        for _ in range(size // MIB):
            yield pb.UploadModelArtifactRequest(data=bytes(MIB))
        with self._lock:
            self.standing += 1
        self._over.wait(60)


def logged(stubs: Stubs, size: int) -> str:
    """A version with one file, and its id."""
    chunks = fast_upload.random_chunks(size // (2 * MIB), 2 * MIB)
    return str(fast_upload.log(stubs, new_project(), "large", {"w": chunks}, type="model").version.id)
