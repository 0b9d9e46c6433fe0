"""The plain SHA-256 of files: what `sha256sum` prints of a download, however the files came."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import text

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import refused
from tests.inprocess import earlier_schemas
from tests.parts.server import LiveServer, Stubs, new_project

LARGE = 5_000_000
"""Bytes of a file of several chunks."""


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def send_plainly(stubs: Stubs, project: str, files: Mapping[str, bytes]) -> pb.ModelArtifactVersion:
    """The simple upload, in messages of at most 1 MiB."""

    def messages() -> Iterator[pb.UploadModelArtifactRequest]:
        yield pb.UploadModelArtifactRequest(header=pb.VersionHeader(project=project, name="bert"))
        for path, data in files.items():
            yield pb.UploadModelArtifactRequest(path=path)
            for start in range(0, len(data), 1 << 20):
                yield pb.UploadModelArtifactRequest(data=data[start : start + (1 << 20)])

    return stubs.artifacts.UploadModelArtifact(messages(), timeout=60).version


def listed(stubs: Stubs, version_id: str) -> dict[str, str]:
    request = pb.ListModelArtifactFilesRequest(id=version_id)
    return {entry.path: entry.sha256 for entry in stubs.artifacts.ListModelArtifactFiles(request).entries}


def at_download(stubs: Stubs, version_id: str, path: str) -> str:
    """The SHA-256 in the first message of a download."""
    call = stubs.artifacts.DownloadFile(pb.DownloadFileRequest(id=version_id, path=path), timeout=60)
    said = next(call).sha256
    call.cancel()
    return str(said)


def made(stubs: Stubs, version_id: str, prefix: str = "") -> dict[str, str]:
    """What HashModelArtifactFiles says."""
    request = pb.HashModelArtifactFilesRequest(id=version_id, path_prefix=prefix)
    replies = stubs.artifacts.HashModelArtifactFiles(request, timeout=60)
    return {file.path: file.sha256 for reply in replies for file in reply.files}


def sums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}


def test_a_simple_upload_is_hashed_as_it_comes(stubs: Stubs) -> None:
    files = {
        "empty": b"",
        "large": os.urandom(LARGE),
        "larger": os.urandom(12_000_000),
        "small": b"weights",
        "small too": os.urandom(100_000),
    }
    version = send_plainly(stubs, new_project(), files)
    assert listed(stubs, version.id) == sums(files)
    assert {path: at_download(stubs, version.id, path) for path in files} == sums(files)


def test_a_fast_upload_of_one_chunk_is_known_and_others_are_made_when_asked(stubs: Stubs) -> None:
    parts = random_chunks(3)
    version = fast_upload.log(
        stubs, new_project(), "bert", {"none": [], "one": parts[:1], "three": parts, "x/three": parts[::-1]}
    ).version
    expected = sums(
        {"none": b"", "one": parts[0], "three": b"".join(parts), "x/three": b"".join(parts[::-1])}
    )
    assert listed(stubs, version.id) == expected | {"three": "", "x/three": ""}
    assert at_download(stubs, version.id, "three") == ""
    assert made(stubs, version.id, "x/") == {"x/three": expected["x/three"]}
    assert listed(stubs, version.id) == expected | {"three": ""}
    request = pb.HashModelArtifactFilesRequest(id=version.id)
    first = next(stubs.artifacts.HashModelArtifactFiles(request, timeout=60))
    assert [file.path for file in first.files] == ["none", "one"]  # what is known comes at once
    assert made(stubs, version.id) == expected
    assert listed(stubs, version.id) == expected
    assert at_download(stubs, version.id, "three") == expected["three"]


def test_a_simple_upload_adds_sha256_to_stored_content(stubs: Stubs) -> None:
    project, data = new_project(), os.urandom(LARGE)
    first = fast_upload.log(stubs, project, "bert", {"w": fast_upload.cut(data)}).version
    assert listed(stubs, first.id) == {"w": ""}
    assert send_plainly(stubs, project, {"w": data}).id == first.id
    other = send_plainly(stubs, project, {"v": data})
    assert listed(stubs, other.id) == sums({"v": data})
    assert listed(stubs, first.id) == sums({"w": data})


def test_references_have_no_sha256(stubs: Stubs) -> None:
    project, chunks = new_project(), random_chunks(1)
    upload = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload, chunks)
    entries = [
        fast_upload.entry("file", chunks),
        pb.ManifestEntry(path="reference", reference_uri="s3://b/k", size_bytes=7),
    ]
    header = pb.VersionHeader(project=project, name="bert")
    version = fast_upload.commit(stubs, upload, header, entries).version
    assert listed(stubs, version.id) == {"file": hashlib.sha256(chunks[0]).hexdigest(), "reference": ""}
    assert made(stubs, version.id) == {"file": hashlib.sha256(chunks[0]).hexdigest()}
    by_ref = pb.HashModelArtifactFilesRequest(ref=f"{project}/bert")
    (reply,) = stubs.artifacts.HashModelArtifactFiles(by_ref)
    assert {file.path: file.sha256 for file in reply.files} == made(stubs, version.id)


def test_a_wrong_sha256_is_refused(stubs: Stubs) -> None:
    project, chunks = new_project(), random_chunks(1)
    upload = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload, chunks)
    header = pb.VersionHeader(project=project, name="bert")
    with refused("INVALID_FIELD", "entries.sha256"):
        fast_upload.commit(stubs, upload, header, [fast_upload.entry("a", chunks, sha256="0" * 64)])
    right = fast_upload.entry("a", chunks, sha256=hashlib.sha256(chunks[0]).hexdigest())
    assert fast_upload.commit(stubs, upload, header, [right]).created


def test_an_unverified_sha256_is_not_returned(stubs: Stubs) -> None:
    project, chunks = new_project(), random_chunks(2)
    upload = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload, chunks)
    header = pb.VersionHeader(project=project, name="bert")
    version = fast_upload.commit(
        stubs, upload, header, [fast_upload.entry("a", chunks, sha256="0" * 64)]
    ).version
    assert listed(stubs, version.id) == {"a": ""}
    assert made(stubs, version.id) == sums({"a": b"".join(chunks)})


def test_hashing_an_unknown_version_is_refused(stubs: Stubs) -> None:
    with refused("NOT_FOUND"):
        made(stubs, new_id())
    with refused("INVALID_FIELD"):
        made(stubs, "not an id")


def test_a_migration_adds_sha256_where_it_is_known(tmp_path: Path, postgres_url: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'old.db'}", postgres_url):
        database = Database(url)
        earlier_schemas.make(database, "0004")
        chunks = [bytes([number]) * 32 for number in range(3)]
        pack = new_id()
        rows = [
            ("INSERT INTO entity (id, name, created_at) VALUES (1, 'e', 1)", {}),
            (
                "INSERT INTO pack (id, entity_id, size, state, changed_at) VALUES (:id, 1, 9, 'live', 1)",
                {"id": pack.replace("-", "") if database.is_sqlite else pack},
            ),
        ]
        for number, digest in enumerate(chunks):
            chunk = {"id": number, "digest": digest, "pack": rows[1][1]["id"]}
            insert = 'INSERT INTO chunk (id, entity_id, digest, pack_id, "offset", size)'
            rows.append((f"{insert} VALUES (:id, 1, :digest, :pack, 0, 5)", chunk))
        for number, size, parts in ((1, 0, []), (2, 5, [0]), (3, 10, [1, 2])):
            file = {"id": number, "digest": bytes([16 + number]) * 32, "size": size}
            rows.append(
                ("INSERT INTO file (id, entity_id, digest, size) VALUES (:id, 1, :digest, :size)", file)
            )
            for index, part in enumerate(parts):
                link = {"file": number, "idx": index, "chunk": part, "start": 5 * index}
                insert = "INSERT INTO file_chunk (file_id, idx, chunk_id, start)"
                rows.append((f"{insert} VALUES (:file, :idx, :chunk, :start)", link))
        with database.engine.begin() as connection:
            for statement, values in rows:
                connection.execute(text(statement), values)
        assert migrations.upgrade(database)
        with database.engine.begin() as connection:
            rows_now = connection.execute(text("SELECT id, sha256 FROM file")).all()
        database.close()
        assert {id_: value and bytes(value) for id_, value in rows_now} == {
            1: bytes([17]) * 32,
            2: chunks[0],
            3: None,
        }
