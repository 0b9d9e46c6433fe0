"""Endless manifests are refused early; large ones are stored while other calls continue."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelyard.v1 import alias_pb2, upload_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.db.bounded import ROWS
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.parts.server import Factory, LiveServer, Stubs, new_project

LARGE = 40
"""Transactions that a large file takes in these tests."""


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose versions have at most 50 files, 600 chunks and 1 GiB."""
    options = ("--max-version-files", "50", "--max-version-chunks", "600", "--max-version-gib", "1")
    server = LiveServer(tmp_path_factory.mktemp("strict"), *options)
    try:
        yield server.start()
    finally:
        server.close()


def uploaded(stubs: Stubs, project: str, size: int = 100) -> tuple[str, bytes]:
    """An upload that holds one chunk."""
    data = os.urandom(size)
    upload_id = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload_id, [data])
    return upload_id, data


def header(project: str, name: str = "bert", **fields: Any) -> pb.VersionHeader:
    return pb.VersionHeader(project=project, name=name, **fields)


def messages(
    upload_id: str, header_: pb.VersionHeader, data: bytes, count: int, request_id: str = ""
) -> Iterator[pb.CommitModelArtifactRequest]:
    """A commit of one file that names the same chunk so many times, 10,000 of them a message."""
    yield pb.CommitModelArtifactRequest(upload_id=upload_id, header=header_, request_id=request_id)
    chunk = fast_upload.message_chunk(data)
    for start in range(0, count, 10_000):
        part = pb.ManifestEntry(
            path="model", continued=start > 0, chunks=[chunk] * min(10_000, count - start)
        )
        if not start:
            part.size_bytes = count * len(data)
        yield pb.CommitModelArtifactRequest(entries=[part])


def test_a_manifest_that_names_too_many_chunks_is_refused_before_it_has_come_to_its_end(
    strict_server: LiveServer,
) -> None:
    stubs, project, sent = strict_server.stubs(), new_project(), threading.Event()
    upload_id, data = uploaded(stubs, project)

    def endless() -> Iterator[pb.CommitModelArtifactRequest]:
        yield pb.CommitModelArtifactRequest(upload_id=upload_id, header=header(project))
        chunks = [fast_upload.message_chunk(data)] * 200
        yield pb.CommitModelArtifactRequest(entries=[pb.ManifestEntry(path="model", chunks=chunks)])
        while not sent.wait(0.01):
            more = pb.ManifestEntry(path="model", chunks=chunks, continued=True)
            yield pb.CommitModelArtifactRequest(entries=[more])

    try:
        with refused("QUOTA_EXCEEDED", "entries[1].chunks") as refusal:
            stubs.artifacts.CommitModelArtifact(endless(), timeout=60)
    finally:
        sent.set()
    assert "600" in refusal.message
    assert "--max-version-chunks" in refusal.message


def test_a_version_of_more_bytes_than_allowed_is_refused_however_few_were_sent(
    strict_server: LiveServer,
) -> None:
    stubs, project = strict_server.stubs(), new_project()
    upload_id, data = uploaded(stubs, project, 2 << 20)
    with refused("QUOTA_EXCEEDED") as refusal:
        stubs.artifacts.CommitModelArtifact(messages(upload_id, header(project), data, 513), timeout=60)
    assert "--max-version-gib" in refusal.message


def test_a_version_of_more_files_than_allowed_is_refused(strict_server: LiveServer) -> None:
    stubs, project = strict_server.stubs(), new_project()
    with refused("QUOTA_EXCEEDED", "entries") as refusal:
        fast_upload.log(stubs, project, "bert", {f"f{number}": [] for number in range(51)})
    assert "--max-version-files" in refusal.message


def test_sizes_of_references_that_add_up_to_nonsense_are_refused(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    upload_id = fast_upload.create(stubs, project=project)
    entries = [
        pb.ManifestEntry(path=f"r{number}", reference_uri="s3://bucket/key", size_bytes=1 << 62)
        for number in range(3)
    ]
    with refused("INVALID_FIELD", "entries.size_bytes"):
        fast_upload.commit(stubs, upload_id, header(project), entries)


def test_known_content_of_more_entries_than_one_transaction_should_hold_is_refused(
    any_live_server: LiveServer,
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    entries = [
        pb.ManifestEntry(path=f"f{number}", digest=fast_upload.file_digest([])) for number in range(10_001)
    ]
    with refused("INVALID_FIELD", "entries"):
        stubs.artifacts.CommitEqualContent(
            pb.CommitEqualContentRequest(header=header(project), entries=entries)
        )


def test_others_write_while_a_very_large_version_is_committed(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    fast_upload.log(stubs, project, "small", {"f": []})
    upload_id, data = uploaded(stubs, project)
    order: list[str] = []

    def sending() -> Iterator[pb.CommitModelArtifactRequest]:
        yield from messages(upload_id, header(project), data, LARGE * ROWS)
        order.append("sent")

    def commit() -> None:
        stubs.artifacts.CommitModelArtifact(sending(), timeout=120)
        order.append("committed")

    with ThreadPoolExecutor(1) as pool:
        committing = pool.submit(commit)
        while "committed" not in order and not committing.done():
            began = len(order)
            move(stubs, project, f"a{began % 50}")
            # One that began before all was sent may have been done before there was anything to write.
            order.append("moved" if "sent" in order[:began] else "moved early")
        committing.result()
    before = order[: order.index("committed")]
    assert before.count("moved") >= LARGE // 8, before


def move(stubs: Stubs, project: str, alias: str) -> None:
    update = alias_pb2.AliasUpdate(alias=alias, version="v0")
    request = alias_pb2.UpdateAliasesRequest(ref=f"{project}/small", updates=[update])
    stubs.aliases.UpdateAliases(request, timeout=120)


def test_a_large_version_has_the_bytes_that_were_named_in_their_order(any_live_server: LiveServer) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    large, shared = tiny_chunks(ROWS + 7), tiny_chunks(3)
    files = {"large": large, "same": large, "tail": [*shared, *shared], "empty": []}
    files |= {f"small/{number}": [shared[number % 3]] for number in range(ROWS + 1)}
    version = log_tiny(stubs, project, files)
    assert version.file_count == len(files)
    for path in ("large", "same", "tail", "empty", "small/0", f"small/{ROWS}"):
        assert fast_upload.read(stubs, version.id, path) == b"".join(files[path])
    assert (
        fast_upload.read(stubs, version.id, "large", 16 * ROWS - 5, 40)
        == b"".join(large)[16 * ROWS - 5 :][:40]
    )


def test_a_server_killed_in_the_middle_of_a_large_commit_shows_nothing_half(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "commit.staged=kill@2"}).start()
    project, large = new_project(), tiny_chunks(2 * ROWS + 7)
    files = {"a": tiny_chunks(ROWS - 1), "b": large}
    stubs = server.stubs()
    upload_id = fast_upload.create(stubs, project=project)
    send_tiny(stubs, upload_id, {chunk for parts in files.values() for chunk in parts})
    with pytest.raises(Exception, match="UNAVAILABLE"):
        commit_tiny(stubs, upload_id, project, files)
    server.wait()
    server.env.clear()
    stubs = server.start().stubs()
    with refused("NOT_FOUND"):
        stubs.artifacts.GetModelArtifactVersion(pb.GetModelArtifactVersionRequest(ref=f"{project}/bert"))
    version = commit_tiny(stubs, upload_id, project, files)
    for path, chunks in files.items():
        assert fast_upload.read(stubs, version.id, path) == b"".join(chunks)


def test_two_that_commit_the_same_large_content_at_once_share_one_version(
    any_live_server: LiveServer,
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    files = {"model": tiny_chunks(ROWS + 9)}
    uploads = [fast_upload.create(stubs, project=project) for _ in range(2)]
    for upload_id in uploads:
        send_tiny(stubs, upload_id, set(files["model"]))
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda upload_id: commit_tiny(stubs, upload_id, project, files), uploads))
    assert made[0].id == made[1].id
    assert fast_upload.read(stubs, made[0].id, "model") == b"".join(files["model"])


def test_a_large_commit_repeated_after_its_reply_was_lost_gets_that_reply(
    any_live_server: LiveServer,
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    upload_id, data = uploaded(stubs, project)
    request_id = new_project()
    first, second = (
        stubs.artifacts.CommitModelArtifact(
            messages(upload_id, header(project), data, ROWS + 1, request_id), timeout=120
        )
        for _ in range(2)
    )
    assert first == second
    assert first.created


def test_a_large_commit_that_is_refused_at_its_end_leaves_the_upload_usable(
    any_live_server: LiveServer,
) -> None:
    stubs, project = any_live_server.stubs(), new_project()
    fast_upload.log(stubs, project, "bert", {"f": []}, type="dataset")
    upload_id, data = uploaded(stubs, project)
    with refused("TYPE_MISMATCH"):
        other = header(project, type="model")
        stubs.artifacts.CommitModelArtifact(messages(upload_id, other, data, ROWS + 1), timeout=120)
    right = header(project, type="dataset")
    made = stubs.artifacts.CommitModelArtifact(messages(upload_id, right, data, ROWS + 1), timeout=120)
    assert made.version.number == 1


def tiny_chunks(count: int) -> list[bytes]:
    """Chunks of 16 bytes."""
    data = os.urandom(16 * count)
    return [data[start : start + 16] for start in range(0, len(data), 16)]


def send_tiny(stubs: Stubs, upload_id: str, chunks: set[bytes]) -> None:
    ordered = sorted(chunks)

    def batches() -> Iterator[upload_pb2.UploadChunksRequest]:
        for start in range(0, len(ordered), 1000):
            part = ordered[start : start + 1000]
            yield upload_pb2.UploadChunksRequest(
                upload_id="" if start else upload_id,
                chunks=[fast_upload.message_chunk(chunk) for chunk in part],
                data=b"".join(part),
            )

    for _ in stubs.uploads.UploadChunks(batches(), timeout=120):
        pass


def commit_tiny(
    stubs: Stubs, upload_id: str, project: str, files: dict[str, Sequence[bytes]] | dict[str, list[bytes]]
) -> pb.ModelArtifactVersion:
    def stream() -> Iterator[pb.CommitModelArtifactRequest]:
        yield pb.CommitModelArtifactRequest(upload_id=upload_id, header=header(project))
        for path, chunks in files.items():
            yield pb.CommitModelArtifactRequest(entries=[fast_upload.entry(path, chunks)])

    version: pb.ModelArtifactVersion = stubs.artifacts.CommitModelArtifact(stream(), timeout=120).version
    return version


def log_tiny(stubs: Stubs, project: str, files: dict[str, list[bytes]]) -> pb.ModelArtifactVersion:
    upload_id = fast_upload.create(stubs, project=project)
    send_tiny(stubs, upload_id, {chunk for parts in files.values() for chunk in parts})
    return commit_tiny(stubs, upload_id, project, files)
