"""Uploads over connections that are cut keep what arrived, and end however often that happens."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from modelyard.configuration import addresses
from modelyard.rpc.connection import Connection
from modelyard.transfer import transfer
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from tests.clients import fast_upload
from tests.clients.transfers import Meter, contents_of, files_in, new_version
from tests.clients.waiting import until
from tests.parts.server import Factory, LiveServer, new_project, stubs_on
from tests.parts.tcp_proxy import TcpProxy
from tests.sdk.transfer.test_chunking import MIB, stream

KIB = 1 << 10


@pytest.fixture
def link(any_live_server: LiveServer) -> Iterator[TcpProxy]:
    """The way to a server."""
    with TcpProxy(any_live_server.port) as proxy:
        yield proxy


def test_an_upload_over_a_link_that_is_cut_all_the_time_ends_and_sends_little_twice(
    any_live_server: LiveServer, link: TcpProxy, tmp_path: Path
) -> None:
    cuts = random.Random(5)
    contents = {"big": stream(f"cut {link.address}", 20 * MIB)}
    endpoint = addresses.parse(f"grpc://{link.address}", any_live_server.token)
    connection = Connection(lambda: endpoint)
    link.cut_after = lambda: cuts.randint(300 * KIB, 4 * MIB)
    link.bytes_per_second = 10 * MIB  # a machine beyond a link: what is sent is not there at once
    meter = Meter()
    files = files_in(tmp_path / "in", contents)
    version, _ = transfer.upload(connection, new_version(new_project()), files, progress=meter)
    assert meter.done == meter.total == version.size_bytes
    assert link.accepted > 3
    assert link.received < 5 * version.size_bytes, link.received
    link.cut_after = link.bytes_per_second = None
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents
    connection.close()


class Sender:
    """Sends chunks without a pause in which the server would seal what it has; the last one for ever."""

    def __init__(self, upload: str, chunks: list[bytes]) -> None:
        self._upload = upload
        self._chunks = chunks
        self.sent = 0

    def messages(self) -> Iterator[upload_pb2.UploadChunksRequest]:
        upload, end = self._upload, time.monotonic() + 30
        while time.monotonic() < end:
            data = self._chunks[min(self.sent, len(self._chunks) - 1)]
            chunk = fast_upload.message_chunk(data)
            yield upload_pb2.UploadChunksRequest(upload_id=upload, chunks=[chunk], data=data)
            upload = ""
            self.sent += 1
            time.sleep(0.002)


@pytest.mark.parametrize("how", ["cut", "cancel", "deadline"])
def test_what_arrived_before_a_stream_broke_is_found_at_once(
    any_live_server: LiveServer, link: TcpProxy, how: str
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(40)
    upload = fast_upload.create(stubs, project=project)
    sender = Sender(upload, chunks)
    with grpc.insecure_channel(link.address) as channel:
        through = stubs_on(channel, any_live_server.token)
        call = through.uploads.UploadChunks(sender.messages(), timeout=1.5 if how == "deadline" else 60)
        if how != "deadline":
            until(lambda: sender.sent >= 30)
        if how == "cut":
            link.cut()
        elif how == "cancel":
            call.cancel()
        with pytest.raises(grpc.RpcError):
            list(call)
        arrived = chunks[: max(0, min(sender.sent, 30) - 10)]  # the last ones may have been on their way
    until(lambda: fast_upload.find_missing(stubs, upload, arrived) == [], seconds=15)


def test_what_a_simple_upload_sent_before_it_broke_is_kept(live_server_factory: Factory) -> None:
    # It breaks while its first pack is being sealed, which takes two seconds.
    slow = {"MODELYARD_FAILPOINTS": "writer.before_intent=sleep(2)@1"}
    server = live_server_factory(env=slow).start()
    stubs, data = server.stubs(), stream("simple", 9 * MIB)
    over, sent = threading.Event(), threading.Event()

    def messages() -> Iterator[pb.UploadModelArtifactRequest]:
        yield pb.UploadModelArtifactRequest(header=pb.VersionHeader(name="model"))
        for start in range(0, len(data), MIB):
            path = "" if start else "w"
            yield pb.UploadModelArtifactRequest(path=path, data=data[start : start + MIB])
        sent.set()
        over.wait(60)

    call = stubs.artifacts.UploadModelArtifact.future(messages())
    assert sent.wait(30)
    time.sleep(1)
    call.cancel()
    over.set()
    chunks = fast_upload.cut(data)[:4]
    upload = fast_upload.create(stubs)
    until(lambda: fast_upload.find_missing(stubs, upload, chunks) == [], seconds=15)


def test_what_arrived_before_the_server_was_stopped_is_found_by_the_next_one(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory().start()
    stubs, chunks = server.stubs(), fast_upload.random_chunks(40)
    upload = fast_upload.create(stubs)
    sender = Sender(upload, chunks)
    call = stubs.uploads.UploadChunks(sender.messages(), timeout=60)
    until(lambda: sender.sent >= 30)
    call.cancel()
    server.stop()
    server.start()
    assert fast_upload.find_missing(server.stubs(), upload, chunks[:20]) == []
