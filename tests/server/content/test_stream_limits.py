"""Limits on streams: one principal cannot take all of them, and a stalled one is ended."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.configuration import addresses
from modelyard.contract import chunking
from modelyard.contract.chunking import Chunk
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import Retrier
from modelyard.transfer import transfer
from modelyard.transfer.file_reader import BufferedChunk, BufferPool, Source
from modelyard.transfer.upload_stream import SendQueue, Stream, batches
from modelyard.v1 import event_pb2, run_pb2, upload_pb2
from modelyard_server.domain.access.principals import LOCAL, Principal
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from tests.bench import memory
from tests.clients import fast_upload
from tests.clients.idle_streams import MIB, IdleStreams, logged
from tests.clients.refusals import refused
from tests.clients.transfers import Meter, files_in
from tests.clients.waiting import until
from tests.inprocess.registry import somebody
from tests.parts.server import Factory, LiveServer, Stubs, create_key, new_project


@pytest.fixture
def idle(keyed_server: LiveServer) -> Iterator[IdleStreams]:
    """Idle streams of a principal of their own."""
    found = IdleStreams(keyed_server, create_key(keyed_server, f"idle-{new_project()}"))
    yield found
    found.leave()


@pytest.fixture
def other(keyed_server: LiveServer) -> Stubs:
    """Stubs of another principal."""
    return keyed_server.stubs(create_key(keyed_server, f"other-{new_project()}"))


def test_silent_uploads_of_one_key_leave_room_for_the_uploads_of_others(
    idle: IdleStreams, other: Stubs
) -> None:
    idle.upload(65)
    until(lambda: bool(idle.refused))
    assert set(idle.refused) == {"TOO_MANY_STREAMS"}
    assert logged(other, 2 * MIB)


def test_unread_downloads_of_one_key_leave_room_and_memory_for_others(
    keyed_server: LiveServer, idle: IdleStreams, other: Stubs
) -> None:
    version_id = logged(other, 24 * MIB)
    before = memory.resident(keyed_server.pid) if sys.platform == "linux" else 0
    idle.download(140, version_id)
    assert set(idle.refused) == {"TOO_MANY_STREAMS"}
    assert len(fast_upload.read(other, version_id, "w")) == 24 * MIB
    if sys.platform == "linux":
        # 4 MiB for each of their share of 96, and 64 MiB together; the rest is slack.
        assert memory.resident(keyed_server.pid) < before + 620


def test_idle_watches_of_one_key_leave_room_for_the_watches_of_others(
    idle: IdleStreams, other: Stubs
) -> None:
    project = new_project()
    other.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project)))
    idle.watch(300, project)
    assert set(idle.refused) == {"TOO_MANY_STREAMS"}
    assert next(other.events.WatchEvents(event_pb2.WatchEventsRequest(project=project))).last_sequence > 0


def test_a_refusal_of_a_stream_beyond_a_share_has_a_retry_delay(idle: IdleStreams, other: Stubs) -> None:
    project = new_project()
    other.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project)))
    idle.watch(256, project)
    with refused("TOO_MANY_STREAMS") as refusal:
        next(idle.stubs.events.WatchEvents(event_pb2.WatchEventsRequest(project=project)))
    assert refusal.retry
    assert "their share of 256" in refusal.message


@pytest.fixture
def short_stall(live_server_factory: Factory) -> LiveServer:
    """A server that waits a second for its clients."""
    return live_server_factory("--stall-seconds", "1").start()


def test_an_upload_that_sends_nothing_ends_with_an_error_to_retry(short_stall: LiveServer) -> None:
    idle = IdleStreams(short_stall, short_stall.token)
    idle.upload(1)
    with refused("STREAM_STALLED") as refusal:
        next(idle.calls[0])
    assert refusal.retry
    idle.leave()


def test_every_call_that_waits_for_its_client_has_a_time_limit(short_stall: LiveServer) -> None:
    over = threading.Event()

    def silence() -> Iterator[Any]:
        over.wait(60)
        yield from ()

    artifacts = short_stall.stubs().artifacts
    for call in (artifacts.CommitModelArtifact, artifacts.UploadModelArtifact):
        with refused("STREAM_STALLED"):
            call(silence())
    over.set()


def test_a_download_that_nobody_reads_ends_with_an_error_to_retry(short_stall: LiveServer) -> None:
    idle = IdleStreams(short_stall, short_stall.token)
    idle.download(1, logged(short_stall.stubs(), 24 * MIB))
    threading.Event().wait(3)
    with refused("STREAM_STALLED") as refusal:
        for _ in idle.calls[0]:
            pass
    assert refusal.retry
    idle.leave()


def test_a_watch_of_a_quiet_project_continues(short_stall: LiveServer) -> None:
    stubs, project = short_stall.stubs(), new_project()
    stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project)))
    watch = stubs.events.WatchEvents(event_pb2.WatchEventsRequest(project=project))
    next(watch)
    threading.Event().wait(3)
    stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project)))
    assert next(watch).events
    watch.cancel()


def connection_to(server: LiveServer) -> Connection:
    endpoint = addresses.Endpoint(server.address, tls=False, token=server.token)
    return Connection(lambda: endpoint)


def test_uploads_of_the_sdk_wait_for_free_streams(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory("--upload-streams", "1", "--download-streams", "1").start()
    connection = connection_to(server)

    def go(number: int) -> bytes:
        content = bytes([number]) + b"".join(fast_upload.random_chunks(4, 5 * MIB))
        files = files_in(tmp_path / str(number), {"w": content})
        header = transfer.NewVersion("local", "p", f"m{number}", "model")
        version = transfer.upload(connection, header, files, progress=Meter())[0]
        transfer.download(connection, version, tmp_path / f"out{number}")
        assert (tmp_path / f"out{number}" / "w").read_bytes() == content
        return content[:1]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(go, range(3))) == [b"\0", b"\1", b"\2"]
    connection.close()


def test_streams_stay_free_however_many_principals_use_their_shares() -> None:
    async def take() -> list[int]:
        shares, over = StreamLimit(64, 75), asyncio.Event()

        async def hold(who: Principal) -> None:
            shares.enter(who)
            await over.wait()

        async def fill(who: Principal) -> int:
            tasks = [asyncio.create_task(hold(who)) for _ in range(70)]
            await asyncio.sleep(0)
            return sum(not task.done() for task in tasks)

        held = [await fill(somebody(name, "acme")) for name in "abcd"]
        over.set()
        while shares.open:
            await asyncio.sleep(0)
        over.clear()
        held.append(await fill(LOCAL))
        over.set()
        return held

    assert asyncio.run(take()) == [48, 12, 3, 1, 64]


def test_the_sdk_continues_an_upload_after_a_long_pause(short_stall: LiveServer, tmp_path: Path) -> None:
    connection = connection_to(short_stall)
    upload_id = connection.uploads.CreateUpload(upload_pb2.CreateUploadRequest(project="p")).upload_id
    queue, retrier = SendQueue(), Retrier(connection, give_up=0.5)
    stream = Stream(connection, upload_id, queue, retrier, lambda *_: None, list)
    thread = threading.Thread(target=stream.run)
    thread.start()
    chunks = fast_upload.random_chunks(3)
    pool = BufferPool(size=fast_upload.CHUNK)
    for number, data in enumerate(chunks):
        [file] = files_in(tmp_path, {str(number): data})
        source = Source.of(file)
        source.chunks.append(Chunk(chunking.chunk_digest(data), len(data)))
        window = pool.take()
        window.view[: len(data)] = data
        [load] = batches(window, [BufferedChunk(source, 0, 0, 0, len(data))])
        queue.put(load)
        threading.Event().wait(2.5)
    queue.close()
    thread.join(30)
    assert not thread.is_alive()
    assert stream.lost == []
    assert fast_upload.find_missing(short_stall.stubs(), upload_id, chunks) == []
    connection.close()
