"""Downloads that began before a collector moved or deleted what they read."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelyard import errors
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from modelyard_server.collecting.collector import Collector
from modelyard_server.collecting.rules import Rules
from modelyard_server.packs import PackStore
from tests.clients import fast_upload
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.pack_writer import until
from tests.inprocess.pipeline import InProcess, Replies, in_process


@dataclass
class Reading:
    """A server whose store can hold reads, with a version to keep in a pack that is mostly dead."""

    server: InProcess
    store: FaultyStore
    kept: str
    chunks: list[bytes]

    async def log(self, name: str, chunks: list[bytes]) -> str:
        """A version; its id."""
        created = await self.server.call(
            "UploadService/CreateUpload", upload_pb2.CreateUploadRequest(project="p")
        )
        question = upload_pb2.FindMissingChunksRequest(
            upload_id=created.upload_id, chunks=[fast_upload.message_chunk(chunk) for chunk in chunks]
        )
        missing = (await self.server.call("UploadService/FindMissingChunks", question)).missing
        sent = [
            upload_pb2.UploadChunksRequest(
                upload_id="" if number else created.upload_id,
                chunks=[fast_upload.message_chunk(chunks[index])],
                data=chunks[index],
            )
            for number, index in enumerate(missing)
        ]
        if sent:
            await self.server.replies("UploadService/UploadChunks", sent)
        commit = pb.CommitModelArtifactRequest(
            upload_id=created.upload_id,
            header=pb.VersionHeader(project="p", name=name),
            entries=[fast_upload.entry("w", chunks)],
        )
        return str(
            (await self.server.collect("ModelArtifactService/CommitModelArtifact", [commit])).version.id
        )

    async def delete(self, version_id: str) -> None:
        """Deletes a version with its aliases."""
        request = pb.DeleteModelArtifactVersionRequest(id=version_id, force=True, request_id=uuid.uuid4().hex)
        await self.server.call("ModelArtifactService/DeleteModelArtifactVersion", request)

    async def begin(self) -> tuple[Replies, Any]:
        """Begins a download of the version to keep, whose first read is held; it, and what lets it go on."""
        number = self.store.calls["read"] + 1
        release = self.store.hold("read", number)
        download = self.server.open(
            "ModelArtifactService/DownloadFile", pb.DownloadFileRequest(id=self.kept, path="w")
        )
        await until(lambda: self.store.calls["read"] == number)
        return download, release

    async def collect(self) -> None:
        """Deletes all that nothing needs."""
        collector = Collector(self.server.database, self.server.packs, Rules(retention=0, unfinished=0))
        await asyncio.to_thread(collector.collect)


@asynccontextmanager
async def reading(folder: Path) -> AsyncIterator[Reading]:
    """A server with a deleted version, of which another needs two chunks."""
    stores: list[FaultyStore] = []

    def wrap(inner: PackStore) -> FaultyStore:
        stores.append(FaultyStore(inner))
        return stores[0]

    async with in_process(folder / "data", wrap=wrap) as server:
        made = Reading(server, stores[0], "", fast_upload.random_chunks(7))
        whole = await made.log("gone", made.chunks)
        made.kept = await made.log("kept", made.chunks[2:4])
        await made.delete(whole)
        yield made
    stores[0].assert_hit()


async def received(download: Replies) -> bytes:
    """The bytes of a download. Raises what ended it."""
    await download.task
    replies = [download.arrived.get_nowait() for _ in range(download.arrived.qsize())]
    return b"".join(reply.data for reply in replies)


def test_a_download_goes_on_where_its_chunks_were_moved_to(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path) as made:
            before = {info.key for info in made.store.list()}
            download, release = await made.begin()
            await made.collect()
            assert not before & {info.key for info in made.store.list()}
            release.set()
            assert await received(download) == b"".join(made.chunks[2:4])

    asyncio.run(test())


def test_a_download_goes_on_when_its_chunks_were_moved_twice(tmp_path: Path) -> None:
    """The second time between the look-up of the new place and the read there."""

    async def test() -> None:
        async with reading(tmp_path) as made:
            moved = await made.log("moved", [made.chunks[2], *fast_upload.random_chunks(4)])
            download, release = await made.begin()
            await made.collect()
            # The first read, its repetition, and the one at the new place.
            number = made.store.calls["read"] + 2
            at_new_place = made.store.hold("read", number)
            release.set()
            await until(lambda: made.store.calls["read"] == number)
            await made.delete(moved)
            rules = Rules(retention=0, unfinished=0, dead=-1.0)  # every pack is copied
            await asyncio.to_thread(Collector(made.server.database, made.server.packs, rules).collect)
            at_new_place.set()
            assert await received(download) == b"".join(made.chunks[2:4])

    asyncio.run(test())


def test_a_download_of_a_version_that_is_deleted_meanwhile_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with reading(tmp_path) as made:
            download, release = await made.begin()
            await made.delete(made.kept)
            await made.collect()
            release.set()
            with pytest.raises(errors.NotFound, match="deleted while it was read"):
                await received(download)

    asyncio.run(test())
