"""Calls that check packs in the store do not block other calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from modelyard.contract import errors
from modelyard.v1 import model_artifact_pb2, upload_pb2
from modelyard_server.db.tables import Pack
from modelyard_server.packs import PackStore
from modelyard_server.rpc.dispatch.executors import STORE_THREADS
from modelyard_server.rpc.dispatch.transactions import MOST_PACK_CHECKS
from tests.clients import fast_upload
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.pipeline import InProcess, in_process

ENTITY = "acme"
CALLS = 2 * STORE_THREADS
WAIT_SECONDS = 20.0


class Wrapper:
    """Wraps the store of a server, and keeps it."""

    store: FaultyStore

    def __call__(self, inner: PackStore) -> FaultyStore:
        self.store = FaultyStore(inner)
        return self.store


async def create_upload(server: InProcess) -> str:
    request = upload_pb2.CreateUploadRequest(entity=ENTITY, project="p")
    return str((await server.call("UploadService/CreateUpload", request)).upload_id)


async def find_missing(server: InProcess, upload_id: str, chunk: bytes) -> list[int]:
    question = upload_pb2.FindMissingChunksRequest(
        upload_id=upload_id, chunks=[fast_upload.message_chunk(chunk)]
    )
    return list((await server.call("UploadService/FindMissingChunks", question)).missing)


def messages(upload_id: str, chunk: bytes) -> list[upload_pb2.UploadChunksRequest]:
    return [
        upload_pb2.UploadChunksRequest(
            upload_id=upload_id, chunks=[fast_upload.message_chunk(chunk)], data=chunk
        )
    ]


async def commit(server: InProcess, chunk: bytes) -> str:
    """A version of one file with this content; its id."""
    upload_id = await create_upload(server)
    await server.replies("UploadService/UploadChunks", messages(upload_id, chunk))
    request = model_artifact_pb2.CommitModelArtifactRequest(
        upload_id=upload_id,
        header=model_artifact_pb2.VersionHeader(entity=ENTITY, project="p", name="m", type="model"),
        entries=[fast_upload.entry("weights", [chunk])],
    )
    return str((await server.collect("ModelArtifactService/CommitModelArtifact", [request])).version.id)


async def until(condition: Callable[[], object]) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_calls_that_check_packs_leave_store_threads_for_downloads(tmp_path: Path) -> None:
    """Every check is held, and the calls are twice as many as the threads."""
    wrapper = Wrapper()

    async def scenario() -> None:
        async with in_process(tmp_path, wrap=wrapper) as server:
            model, *chunks = fast_upload.random_chunks(CALLS + 1)
            version_id = await commit(server, model)
            ids = [await create_upload(server) for _ in chunks]
            for upload_id, chunk in zip(ids, chunks, strict=True):
                await server.replies("UploadService/UploadChunks", messages(upload_id, chunk))
            server.packs.forget(pack_ids(server))
            held = [wrapper.store.hold("stat", wrapper.store.calls["stat"] + 1 + n) for n in range(CALLS)]
            asking = [
                asyncio.create_task(find_missing(server, upload_id, chunk))
                for upload_id, chunk in zip(ids, chunks, strict=True)
            ]
            checks = wrapper.store.calls["stat"] + MOST_PACK_CHECKS
            await until(lambda: wrapper.store.calls["stat"] >= checks)
            download = model_artifact_pb2.DownloadFileRequest(id=version_id, path="weights")
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    replies = await server.replies("ModelArtifactService/DownloadFile", download)
                assert wrapper.store.calls["stat"] == checks
            finally:
                for release in held:
                    release.set()
            assert b"".join(reply.data for reply in replies) == model
            assert await asyncio.gather(*asking) == [[]] * CALLS

    asyncio.run(scenario())


def pack_ids(server: InProcess) -> list[str]:
    """The ids of the packs that the database records."""
    return server.database.read(lambda session: list(session.scalars(select(Pack.id))))


def test_rights_are_checked_before_a_question_for_missing_chunks_waits(tmp_path: Path) -> None:
    """The owner waits while the broken stream is stored; other principals are refused at once."""
    wrapper = Wrapper()

    async def scenario() -> None:
        async with in_process(tmp_path, wrap=wrapper) as server:
            owner, stranger = server.of_new_key("ann", ENTITY), server.of_new_key("bob", "other")
            chunk = fast_upload.random_chunks(1)[0]
            upload_id = await create_upload(owner)
            release = wrapper.store.hold("put")
            sending = owner.open("UploadService/UploadChunks", messages(upload_id, chunk))
            await until(lambda: wrapper.store.calls["put"])
            sending.task.cancel()
            await asyncio.wait([sending.task])
            asking = asyncio.create_task(find_missing(owner, upload_id, chunk))
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    with pytest.raises(errors.UploadExpired):  # what an unknown upload gets
                        await find_missing(stranger, upload_id, chunk)
                assert not asking.done()
                assert upload_id in server.core.writer.pending_seals
            finally:
                release.set()
            assert await asking == []

    asyncio.run(scenario())
