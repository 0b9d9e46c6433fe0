"""Uploads over the wire, on both pairs of database and store: what is sent, what is refused, what stays."""

from __future__ import annotations

import hashlib
import os
import uuid

import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from tests.clients import fast_upload
from tests.clients.fast_upload import entry, random_chunks
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def project() -> str:
    return new_project()


def _versions(stubs: Stubs, project: str, name: str) -> list[int]:
    request = pb.ListModelArtifactVersionsRequest(ref=f"{project}/{name}")
    return sorted(version.number for version in stubs.artifacts.ListModelArtifactVersions(request).versions)


def test_a_committed_file_comes_back_whole(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(7)
    made = fast_upload.log(stubs, project, "bert", {"a/weights": chunks, "empty": []})
    assert (made.created, made.version.number, made.version.size_bytes) == (True, 0, 7 * fast_upload.CHUNK)
    assert fast_upload.read(stubs, made.version.id, "a/weights") == b"".join(chunks)
    assert fast_upload.read(stubs, made.version.id, "empty") == b""


def test_any_range_of_a_file_can_be_read(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(9)
    whole = b"".join(chunks)
    version = fast_upload.log(stubs, project, "bert", {"w": chunks}).version
    for offset, length in (
        (0, 1),
        (299_999, 2),
        (300_000, 300_000),
        (1, len(whole) - 2),
        (len(whole) - 1, 1),
    ):
        assert fast_upload.read(stubs, version.id, "w", offset, length) == whole[offset : offset + length]
    assert fast_upload.read(stubs, version.id, "w", len(whole)) == b""
    assert fast_upload.read(stubs, version.id, "w", 5, 0) == b""
    assert fast_upload.read(stubs, version.id, "w", 5, len(whole)) == whole[5:]
    assert fast_upload.read(stubs, version.id, "w", 5, 2**63 - 1) == whole[5:]


def test_many_ranges_come_in_the_order_asked(stubs: Stubs, project: str) -> None:
    files = {f"f{number}": random_chunks(2, 1000 + number) for number in range(40)}
    version = fast_upload.log(stubs, project, "many", files).version
    whole = {path: b"".join(parts) for path, parts in files.items()}
    asked: list[tuple[str, int, int | None]] = [
        ("f3", 0, None),
        ("f1", 5, 1500),
        ("f39", 1000, 1),
        ("f4", 9, 0),
    ]
    asked += [("f2", 7, 1 << 40), *((path, 0, None) for path in reversed(files))]
    request = pb.DownloadFilesRequest(
        version_id=version.id, ranges=[pb.FileRange(path=p, offset=o, length=n) for p, o, n in asked]
    )
    got = b"".join(part.data for part in stubs.artifacts.DownloadFiles(request))
    assert got == b"".join(whole[path][o : None if n is None else o + n] for path, o, n in asked)


def test_chunks_the_server_has_need_not_be_sent(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(4)
    fast_upload.log(stubs, project, "first", {"w": chunks})
    upload_id = fast_upload.create(stubs, project=project)
    new = os.urandom(1000)
    assert fast_upload.find_missing(stubs, upload_id, [*chunks, new]) == [4]


def test_equal_content_is_the_same_version_and_takes_the_aliases(stubs: Stubs, project: str) -> None:
    chunks, other = random_chunks(2), random_chunks(1)
    first = fast_upload.log(stubs, project, "bert", {"w": chunks}, description="one").version
    fast_upload.log(stubs, project, "bert", {"w": other})
    again = fast_upload.log(stubs, project, "bert", {"w": chunks}, aliases=["best"], description="two")
    assert (again.created, again.version.id) == (False, first.id)
    assert sorted(again.version.aliases) == ["best", "latest"]
    assert again.version.description == "two"
    assert _versions(stubs, project, "bert") == [0, 1]


def test_a_repeated_commit_gets_the_first_reply(stubs: Stubs, project: str) -> None:
    request_id, chunks = uuid.uuid4().hex, random_chunks(1)
    replies = [
        fast_upload.log(stubs, project, "bert", {"w": chunks}, request_id=request_id) for _ in range(2)
    ]
    assert replies[0] == replies[1]
    with refused("REQUEST_ID_REUSED", "request_id"):
        fast_upload.log(stubs, project, "bert", {"w": random_chunks(1)}, request_id=request_id)


def test_a_commit_of_chunks_the_upload_does_not_hold_is_refused(stubs: Stubs, project: str) -> None:
    stored, absent = random_chunks(1), random_chunks(1)
    fast_upload.log(stubs, project, "bert", {"w": stored})
    upload_id = fast_upload.create(stubs, project=project)
    header = pb.VersionHeader(project=project, name="other")
    for chunks in (absent, stored):  # stored, but this upload never asked for it
        with refused("CHUNKS_MISSING") as refusal:
            fast_upload.commit(stubs, upload_id, header, [entry("w", chunks)])
        assert refusal.metadata["count"] == "1"
    with refused("NOT_FOUND"):
        _versions(stubs, project, "other")


def test_an_upload_ends_with_its_commit(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    upload_id = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload_id, chunks)
    header = pb.VersionHeader(project=project, name="bert")
    fast_upload.commit(stubs, upload_id, header, [entry("w", chunks)])
    with refused("UPLOAD_EXPIRED"):
        fast_upload.commit(stubs, upload_id, header, [entry("w", chunks)])
    with refused("UPLOAD_EXPIRED"):
        fast_upload.send(stubs, upload_id, chunks)


def test_a_deleted_upload_takes_nothing_more(stubs: Stubs, project: str) -> None:
    upload_id = fast_upload.create(stubs, project=project)
    for _ in range(2):
        stubs.uploads.DeleteUpload(upload_pb2.DeleteUploadRequest(upload_id=upload_id))
    with refused("UPLOAD_EXPIRED"):
        fast_upload.find_missing(stubs, upload_id, random_chunks(1))


def test_bytes_that_do_not_match_their_digest_are_refused(stubs: Stubs, project: str) -> None:
    good, bad = random_chunks(2)
    upload_id = fast_upload.create(stubs, project=project)
    wrong = upload_pb2.UploadChunksRequest(
        upload_id=upload_id, chunks=[fast_upload.message_chunk(good)], data=bad
    )
    with refused("DIGEST_MISMATCH", "chunks[0]"):
        list(stubs.uploads.UploadChunks(iter([wrong])))
    assert fast_upload.find_missing(stubs, upload_id, [good, bad]) == [0, 1]


@pytest.mark.parametrize("paths", [["a/../b"], ["w", "w"], ["w", "w/x"], ["x" * 1025]])
def test_a_bad_path_in_a_simple_upload_is_named_by_the_field_it_came_in(
    stubs: Stubs, project: str, paths: list[str]
) -> None:
    header = pb.VersionHeader(project=project, name="bad")
    files = [pb.UploadModelArtifactRequest(path=path, data=b"x") for path in paths]
    with refused("INVALID_FIELD", "path"):
        stubs.artifacts.UploadModelArtifact(iter([pb.UploadModelArtifactRequest(header=header), *files]))


def test_a_simple_upload_that_breaks_off_leaves_nothing_visible(stubs: Stubs, project: str) -> None:
    def messages():  # type: ignore[no-untyped-def] # a generator that fails half-way
        yield pb.UploadModelArtifactRequest(header=pb.VersionHeader(project=project, name="half"))
        yield pb.UploadModelArtifactRequest(path="w", data=os.urandom(1_000_000))
        raise ValueError("the client fails")

    with pytest.raises(Exception, match=r"iterating requests|CANCELLED|UNKNOWN"):
        stubs.artifacts.UploadModelArtifact(messages())
    with refused("NOT_FOUND"):
        _versions(stubs, project, "half")


MISSING = {"digest": b"\1" * 32, "size_bytes": 10}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"path": ""}, "entries[0].path"),
        ({"path": "/etc/passwd"}, "entries[0].path"),
        ({"path": "a/../b"}, "entries[0].path"),
        ({"path": "a//b"}, "entries[0].path"),
        ({"path": "a/./b"}, "entries[0].path"),
        ({"path": "a\0b"}, "entries[0].path"),
        ({"path": "a\nb"}, "entries[0].path"),
        ({"path": "x" * 1025}, "entries[0].path"),
        ({"path": "/".join("x" * 33)}, "entries[0].path"),
        ({"path": "a", "size_bytes": -1}, "entries[0].size_bytes"),
        ({"path": "a", "size_bytes": 1}, "entries.size_bytes"),
        ({"path": "a", "digest": "AB" * 32}, "entries[0].digest"),
        ({"path": "a", "digest": "ab" * 31}, "entries[0].digest"),
        ({"path": "a", "digest": "ab" * 32}, "entries.digest"),
        ({"path": "a", "sha256": "xyz"}, "entries[0].sha256"),
        ({"path": "a", "size_bytes": 9, "chunks": [upload_pb2.Chunk(**MISSING)]}, "entries.size_bytes"),
        (
            {"path": "a", "chunks": [upload_pb2.Chunk(digest=b"short", size_bytes=1)]},
            "entries[0].chunks[0].digest",
        ),
        ({"path": "a", "chunks": [upload_pb2.Chunk(digest=b"\1" * 32)]}, "entries[0].chunks[0].size_bytes"),
        (
            {"path": "a", "chunks": [upload_pb2.Chunk(digest=b"\1" * 32, size_bytes=2_097_153)]},
            "entries[0].chunks[0].size_bytes",
        ),
        ({"path": "a", "continued": True}, "entries[0].continued"),
        ({"path": "a", "reference_uri": "no-scheme"}, "entries[0].reference_uri"),
        ({"path": "a", "reference_uri": "s3://b/k", "size_bytes": -2}, "entries[0].size_bytes"),
    ],
)
def test_a_bad_entry_is_refused_with_its_field(
    stubs: Stubs, project: str, fields: dict[str, object], field: str
) -> None:
    upload_id = fast_upload.create(stubs, project=project)
    header = pb.VersionHeader(project=project, name="bad")
    with refused("INVALID_FIELD", field):
        fast_upload.commit(stubs, upload_id, header, [pb.ManifestEntry(**fields)])  # type: ignore[arg-type] # one case a row
    with refused("NOT_FOUND"):
        _versions(stubs, project, "bad")


@pytest.mark.parametrize(
    ("paths", "field"),
    [(["a", "a"], "entries[1].path"), (["a/b", "a"], "entries.path"), (["a", "a/b/c"], "entries.path")],
)
def test_paths_that_exclude_each_other_are_refused(
    stubs: Stubs, project: str, paths: list[str], field: str
) -> None:
    upload_id = fast_upload.create(stubs, project=project)
    with refused("INVALID_FIELD", field):
        header = pb.VersionHeader(project=project, name="bad")
        fast_upload.commit(stubs, upload_id, header, [entry(path, []) for path in paths])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "header.name"),
        ({"name": "a b"}, "header.name"),
        ({"name": "a/b"}, "header.name"),
        ({"name": ".."}, "header.name"),
        ({"name": "a%2fb"}, "header.name"),
        ({"name": "x" * 129}, "header.name"),
        ({"name": "x\u202ey"}, "header.name"),
        ({"name": "m", "type": "a b"}, "header.type"),
        ({"name": "m", "aliases": ["v3"]}, "header.aliases[0]"),
        ({"name": "m", "aliases": ["ok", "a/b"]}, "header.aliases[1]"),
        ({"name": "m", "aliases": ["a:b"]}, "header.aliases[0]"),
        ({"name": "m", "tags": ["no/slash"]}, "header.tags[0]"),
        ({"name": "m", "digest": "ab"}, "header.digest"),
        ({"name": "m", "digest": "ab" * 32}, "header.digest"),
        ({"name": "m", "history_step": -1}, "header.history_step"),
        ({"name": "m", "run_id": "no-uuid"}, "header.run_id"),
        ({"name": "m", "description": "x" * 65_537}, "header.description"),
    ],
)
def test_a_bad_header_is_refused_with_its_field(
    stubs: Stubs, project: str, fields: dict[str, object], field: str
) -> None:
    upload_id = fast_upload.create(stubs, project=project)
    with refused("INVALID_FIELD", field):
        fast_upload.commit(stubs, upload_id, pb.VersionHeader(project=project, **fields), [])  # type: ignore[arg-type]
    listed = stubs.artifacts.ListModelArtifacts(pb.ListModelArtifactsRequest())
    assert project not in {artifact.project for artifact in listed.model_artifacts}


def test_a_step_that_is_not_known_is_unset_and_step_0_is_not(stubs: Stubs, project: str) -> None:
    unknown = fast_upload.log(stubs, project, "m", {"w": random_chunks(1)}).version
    first = fast_upload.log(stubs, project, "m", {"w": random_chunks(1)}, history_step=0).version
    assert not unknown.HasField("history_step")
    assert first.HasField("history_step")
    assert first.history_step == 0


@pytest.mark.parametrize(
    ("offset", "length", "field"),
    [
        (-1, None, "offset"),
        (11, None, "offset"),
        (11, 0, "offset"),
        (5, -1, "length"),
    ],
)
def test_a_range_outside_the_file_is_refused(
    stubs: Stubs, project: str, offset: int, length: int | None, field: str
) -> None:
    version = fast_upload.log(stubs, project, "m", {"w": [b"0123456789"]}).version
    with refused("INVALID_FIELD", field):
        fast_upload.read(stubs, version.id, "w", offset, length)
    request = pb.DownloadFilesRequest(
        version_id=version.id,
        ranges=[pb.FileRange(path="w"), pb.FileRange(path="w", offset=offset, length=length)],
    )
    with refused("INVALID_FIELD", f"ranges[1].{field}"):
        list(stubs.artifacts.DownloadFiles(request))


def test_the_digests_on_the_wire_follow_the_published_rule(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(3)
    version = fast_upload.log(stubs, project, "m", {"w": chunks}).version
    request = pb.DownloadFileRequest(id=version.id, path="w")
    first = next(iter(stubs.artifacts.DownloadFile(request)))
    assert (first.version_id, first.size_bytes) == (version.id, 3 * fast_upload.CHUNK)
    assert first.digest == fast_upload.file_digest(chunks)
    raw = bytes.fromhex(first.digest)
    rule = b"\0\0\0\1w" + b"\0" + raw + (3 * fast_upload.CHUNK).to_bytes(8, "big")
    assert version.digest == hashlib.sha256(rule).hexdigest()
