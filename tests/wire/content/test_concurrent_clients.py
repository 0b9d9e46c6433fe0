"""Many clients that log and link at once lose nothing and block nobody."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.v1 import event_pb2, upload_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import concurrent_clients, fast_upload
from tests.clients.concurrent_clients import REGISTERED, ConcurrentClients, Made
from tests.clients.fast_upload import message_chunk, random_chunks
from tests.parts.server import LiveServer, Stubs, new_project

CLIENTS, MODELS, SIZE = 16, 5, 1 << 20


@pytest.fixture
def project() -> str:
    return new_project()


@pytest.fixture
def clients(any_live_server: LiveServer, project: str) -> Iterator[ConcurrentClients]:
    with concurrent_clients.ready(
        any_live_server.url, project, clients=CLIENTS, models=MODELS, size=SIZE
    ) as ready:
        yield ready


def test_clients_that_log_and_link_at_once_lose_nothing(
    any_live_server: LiveServer, project: str, clients: ConcurrentClients
) -> None:
    made = clients.run()
    stubs = any_live_server.stubs()
    assert len({one.ref for one in made}) == CLIENTS * MODELS
    assert sorted(one.link for one in made) == list(range(CLIENTS * MODELS))
    for one in made:
        _check(stubs, project, one)
    _check_events(stubs, project)
    for client in range(CLIENTS):
        # Each client moved its alias along its own links: it stands where the last one put it.
        last = next(one for one in made if one.ref == f"{project}/model-{client}-{MODELS - 1}:v0")
        assert _resolve(stubs, f"{project}/{REGISTERED}:client-{client}").id == last.version_id


def _resolve(stubs: Stubs, ref: str) -> pb.ModelArtifactVersion:
    request = pb.GetModelArtifactVersionRequest(ref=ref)
    version: pb.ModelArtifactVersion = stubs.artifacts.GetModelArtifactVersion(request, timeout=60).version
    return version


def _check(stubs: Stubs, project: str, one: Made) -> None:
    """The name and the link lead to the version, and its bytes are those that were sent."""
    for ref in (one.ref, f"{project}/{REGISTERED}:v{one.link}"):
        assert _resolve(stubs, ref).id == one.version_id
    content = fast_upload.read(stubs, one.version_id, "weights.bin")
    assert hashlib.sha256(content).hexdigest() == one.sha256


def _check_events(stubs: Stubs, project: str) -> None:
    """Gapless, and one for each version and link."""
    events: list[event_pb2.Event] = []
    while True:
        request = event_pb2.ListEventsRequest(project=project, page_size=1000, after_sequence=len(events))
        page = stubs.events.ListEvents(request).events
        events += page
        if len(page) < 1000:
            break
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    versions = [event.version_id for event in events if event.type == event_pb2.EVENT_TYPE_VERSION_CREATED]
    assert len(set(versions)) == len(versions) == CLIENTS * MODELS


def test_a_stalled_client_blocks_no_other(
    any_live_server: LiveServer, project: str, clients: ConcurrentClients
) -> None:
    stubs = any_live_server.stubs()
    start = fast_upload.log(stubs, project, "served", {"w": random_chunks(1)}).version
    stop, answered = threading.Event(), [0]

    def resolve() -> None:
        while not stop.is_set():
            assert _resolve(stubs, f"{project}/served:latest").id == start.id
            answered[0] += 1

    chunks = random_chunks(2)
    with ThreadPoolExecutor(2) as pool:
        stalled = _Stalled(stubs, project, chunks)
        upload = pool.submit(stalled.send)
        resolver = pool.submit(resolve)
        try:
            stalled.under_way.wait(30)
            made = clients.run()
        finally:
            stop.set()
            stalled.go_on.set()
        resolver.result(60)
        assert upload.result(60) == 2
    assert len(made) == CLIENTS * MODELS
    assert answered[0] >= CLIENTS  # a blocked client would have got one answer or none
    header = pb.VersionHeader(project=project, name="slow")
    entry = fast_upload.entry("w", chunks)
    slow = fast_upload.commit(stubs, stalled.upload_id, header, [entry]).version
    assert fast_upload.read(stubs, slow.id, "w") == b"".join(chunks)


class _Stalled:
    """An upload stream that pauses after its first chunk until it is released."""

    def __init__(self, stubs: Stubs, project: str, chunks: list[bytes]) -> None:
        self._stubs = stubs
        self._chunks = chunks
        self.upload_id = fast_upload.create(stubs, project=project)
        self.under_way = threading.Event()
        self.go_on = threading.Event()

    def send(self) -> int:
        """The number of chunks that are durable in the end."""
        durable = 0
        for reply in self._stubs.uploads.UploadChunks(self._messages(), timeout=200):
            durable = reply.durable_chunks
            self.under_way.set()
        return durable

    def _messages(self) -> Iterator[upload_pb2.UploadChunksRequest]:
        for index, data in enumerate(self._chunks):
            if index:
                self.go_on.wait()
            yield upload_pb2.UploadChunksRequest(
                upload_id="" if index else self.upload_id, chunks=[message_chunk(data)], data=data
            )
