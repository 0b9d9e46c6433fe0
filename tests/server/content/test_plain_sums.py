"""The plain SHA-256 of files: what is read to make it, sent meanwhile, and written of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import event

from modelyard.contract.chunking import cut, file_digest
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from modelyard_server.domain.content.manifests import Limits
from modelyard_server.packs import PackStore
from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.pipeline import Pipeline
from modelyard_server.rpc.dispatch.stream_limits import MemoryBudgets, StreamLimits
from modelyard_server.rpc.services.artifacts import ModelArtifactServicer
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.pipeline import InProcess, in_process

SERVICE = "ModelArtifactService"
QUIET_SECONDS = 0.05
"""The most seconds between two replies of the server under test."""
WAIT_SECONDS = 20.0


@dataclass(frozen=True)
class Hashing:
    """A server, its store, and the same server with another interval between replies."""

    server: InProcess
    store: FaultyStore
    impatient: InProcess


def run(folder: Path, scenario: Callable[[Hashing], Awaitable[None]]) -> None:
    """Runs a scenario on a new server."""
    stores: list[FaultyStore] = []

    def wrap(inner: PackStore) -> FaultyStore:
        stores.append(FaultyStore(inner))
        return stores[0]

    async def started() -> None:
        async with in_process(folder, wrap=wrap) as server:
            with ThreadPoolExecutor(2) as pool:
                async with asyncio.timeout(WAIT_SECONDS):
                    await scenario(Hashing(server, stores[0], impatient(server, pool)))

    asyncio.run(started())


def impatient(server: InProcess, pool: Executor) -> InProcess:
    """The server with replies that are at most `QUIET_SECONDS` apart."""
    core = server.core
    servicer = ModelArtifactServicer(
        core.writer,
        server.packs,
        pool,
        pool,
        StreamLimits.of(1, 1, 1, 100),
        MemoryBudgets(),
        Limits(1, 1, 1),
        hashing_seconds=QUIET_SECONDS,
    )
    pipeline = Pipeline(
        {f"modelyard.v1.{SERVICE}": servicer},
        core.transactions,
        Authenticator(core.transactions),
        core.active_calls,
        decoding=pool,
        stall_seconds=WAIT_SECONDS,
    )
    return replace(server, core=replace(core, pipeline=pipeline))


async def log(server: InProcess, files: Mapping[str, Sequence[bytes]]) -> pb.HashModelArtifactFilesRequest:
    """Commits a version with these files; the request for their sums."""
    create = upload_pb2.CreateUploadRequest(entity="acme", project="p")
    upload_id = (await server.call("UploadService/CreateUpload", create)).upload_id
    chunks = dict.fromkeys(chunk for parts in files.values() for chunk in parts)
    sent = [
        upload_pb2.UploadChunksRequest(
            upload_id="" if index else upload_id, chunks=[fast_upload.message_chunk(chunk)], data=chunk
        )
        for index, chunk in enumerate(chunks)
    ]
    await server.replies("UploadService/UploadChunks", sent)
    commit = pb.CommitModelArtifactRequest(
        upload_id=upload_id,
        header=pb.VersionHeader(entity="acme", project="p", name="m", type="model"),
        entries=[fast_upload.entry(path, parts) for path, parts in files.items()],
    )
    version = (await server.collect(f"{SERVICE}/CommitModelArtifact", [commit])).version
    return pb.HashModelArtifactFilesRequest(id=version.id)


def sums(replies: Sequence[pb.HashModelArtifactFilesResponse]) -> dict[str, str]:
    return {file.path: file.sha256 for reply in replies for file in reply.files}


def sha256(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_equal_files_are_read_once(tmp_path: Path) -> None:
    async def scenario(given: Hashing) -> None:
        parts, others = random_chunks(3, 900_000), random_chunks(2, 700_000)
        request = await log(given.server, {"a": parts, "b": others, "c/d": parts, "e": others})
        await given.server.replies(f"{SERVICE}/DownloadFile", pb.DownloadFileRequest(id=request.id, path="a"))
        await given.server.replies(f"{SERVICE}/DownloadFile", pb.DownloadFileRequest(id=request.id, path="b"))
        once = given.store.calls["read"]
        assert once > 1
        replies = await given.server.replies(f"{SERVICE}/HashModelArtifactFiles", request)
        first, second = sha256(parts), sha256(others)
        assert sums(replies) == {"a": first, "b": second, "c/d": first, "e": second}
        assert given.store.calls["read"] == 2 * once

    run(tmp_path, scenario)


def test_empty_replies_come_while_a_file_is_read(tmp_path: Path) -> None:
    async def scenario(given: Hashing) -> None:
        small, large = random_chunks(1), random_chunks(2)
        request = await log(given.server, {"a": small, "b": large})
        release = given.store.hold("read", given.store.calls["read"] + 1)
        replies = given.impatient.open(f"{SERVICE}/HashModelArtifactFiles", request)
        try:
            held = [await replies.next() for _ in range(3)]
        finally:
            release.set()
        await replies.task
        left = [replies.arrived.get_nowait() for _ in range(replies.arrived.qsize())]
        assert [sums([reply]) for reply in held] == [{"a": sha256(small)}, {}, {}]
        assert sums(left) == {"b": sha256(large)}

    run(tmp_path, scenario)


def test_sums_are_written_of_files_that_lack_them_and_of_no_others(tmp_path: Path) -> None:
    async def scenario(given: Hashing) -> None:
        contents = [b"".join(random_chunks(1, size)) for size in (10_000, 2_500_000, 3_500_000, 5_000_000)]
        await log(given.server, {str(number): fast_upload.cut(data) for number, data in enumerate(contents)})
        written: list[list[bytes]] = []

        @event.listens_for(given.server.database.engine, "before_cursor_execute")
        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.startswith("UPDATE file SET sha256"):
                written.append([row[0] for row in parameters])

        header = pb.VersionHeader(entity="acme", project="p", name="plain", type="model")
        for _ in range(2):
            plain = [pb.UploadModelArtifactRequest(header=header)]
            for number, data in enumerate(contents):
                plain.append(pb.UploadModelArtifactRequest(path=f"plain {number}"))
                plain += [
                    pb.UploadModelArtifactRequest(data=data[start : start + (1 << 20)])
                    for start in range(0, len(data), 1 << 20)
                ]
            await given.server.collect(f"{SERVICE}/UploadModelArtifact", plain)
            header.name = "again"
        by_digest = sorted(contents[1:], key=lambda data: file_digest(cut(data)))
        assert written == [[hashlib.sha256(data).digest() for data in by_digest]]

    run(tmp_path, scenario)
