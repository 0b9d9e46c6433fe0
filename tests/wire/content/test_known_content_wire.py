"""Versions made of files that the entity has already, with one call and no upload."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelyard.contract.chunking import Entry, version_digest
from modelyard.v1 import event_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import file_digest, random_chunks
from tests.clients.refusals import refused
from tests.parts.server import Factory, LiveServer, Stubs, new_project

Files = Mapping[str, Sequence[bytes]]


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def project() -> str:
    return new_project()


def entry(path: str, chunks: Sequence[bytes], **fields: Any) -> pb.ManifestEntry:
    """A file, named by its digest alone."""
    given = {"size_bytes": sum(map(len, chunks)), "digest": file_digest(chunks)} | fields
    return pb.ManifestEntry(path=path, **given)


def digest_of(entries: Sequence[pb.ManifestEntry]) -> str:
    return version_digest(
        Entry(each.path, each.size_bytes, bytes.fromhex(each.digest), each.reference_uri, each.reference_tag)
        for each in entries
    ).hex()


def commit(
    stubs: Stubs,
    project: str,
    entries: Sequence[pb.ManifestEntry],
    *,
    open_upload: bool = False,
    request_id: str = "",
    **header: Any,
) -> pb.CommitEqualContentResponse:
    fields: dict[str, Any] = {"project": project, "name": "copy"} | header
    fields["digest"] = header.get("digest") or digest_of(entries)
    reply: pb.CommitEqualContentResponse = stubs.artifacts.CommitEqualContent(
        pb.CommitEqualContentRequest(
            header=pb.VersionHeader(**fields),
            entries=entries,
            open_upload=open_upload,
            request_id=request_id,
        )
    )
    return reply


def log(stubs: Stubs, project: str, files: Files, **header: Any) -> pb.ModelArtifactVersion:
    version: pb.ModelArtifactVersion = fast_upload.log(stubs, project, "bert", files, **header).version
    return version


def contents(stubs: Stubs, version_id: str) -> dict[str, bytes]:
    listed = stubs.artifacts.ListModelArtifactFiles(pb.ListModelArtifactFilesRequest(id=version_id))
    return {each.path: fast_upload.read(stubs, version_id, each.path) for each in listed.entries}


def events(stubs: Stubs, project: str) -> list[str]:
    found = stubs.events.ListEvents(event_pb2.ListEventsRequest(project=project, page_size=1000)).events
    return [event_pb2.EventType.Name(each.type).removeprefix("EVENT_TYPE_") for each in found]


def test_a_version_is_made_of_stored_files_under_other_paths(stubs: Stubs, project: str) -> None:
    one, two = random_chunks(2), random_chunks(1)
    first = log(stubs, project, {"a": one, "b": two, "empty": []})
    entries = [entry("x/a", one), entry("x/again", one), entry("empty", []), entry("z", two)]
    made = commit(stubs, project, entries, aliases=["best"], tags=["t"], description="d")
    assert made.created
    assert not made.upload_id
    assert (made.version.number, made.version.file_count, made.version.name) == (0, 4, "copy")
    assert made.version.size_bytes == sum(each.size_bytes for each in entries)
    assert made.version.digest == digest_of(entries)
    assert list(made.version.aliases) == ["best", "latest"]
    request = pb.GetModelArtifactVersionRequest(id=made.version.id)
    assert stubs.artifacts.GetModelArtifactVersion(request).version == made.version
    for gone in (first.id, ""):
        assert contents(stubs, made.version.id) == {
            "empty": b"",
            "x/a": b"".join(one),
            "x/again": b"".join(one),
            "z": b"".join(two),
        }
        if gone:
            deleting = pb.DeleteModelArtifactVersionRequest(id=gone, force=True)
            stubs.artifacts.DeleteModelArtifactVersion(deleting)


def test_equal_content_comes_back_whether_or_not_its_entries_are_given(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    version = log(stubs, project, {"w": chunks})
    before = events(stubs, project)
    found = commit(stubs, project, [entry("w", chunks)], name="bert", open_upload=True)
    assert (found.version, found.created, found.upload_id) == (version, False, "")
    assert events(stubs, project) == before


def test_files_that_are_not_all_stored_make_nothing(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    log(stubs, project, {"w": chunks})
    before = events(stubs, project)
    with refused("CHUNKS_MISSING"):
        commit(stubs, project, [entry("w", chunks), entry("new", random_chunks(1))])
    assert events(stubs, project) == before


def test_an_upload_for_what_is_missing_is_opened_at_once(stubs: Stubs, project: str) -> None:
    old, new = random_chunks(1), random_chunks(1)
    log(stubs, project, {"old": old})
    entries = [entry("old", old), entry("new", new)]
    request_id = uuid.uuid4().hex
    opened = commit(stubs, project, entries, open_upload=True, request_id=request_id)
    assert opened.upload_id
    assert not opened.created
    assert not opened.HasField("version")
    again = commit(stubs, project, entries, open_upload=True, request_id=request_id)
    assert again == opened
    assert fast_upload.find_missing(stubs, opened.upload_id, [*old, *new]) == [1]
    fast_upload.send(stubs, opened.upload_id, new)
    header = pb.VersionHeader(project=project, name="copy", digest=digest_of(entries))
    manifest = [fast_upload.entry("old", old), fast_upload.entry("new", new)]
    assert fast_upload.commit(stubs, opened.upload_id, header, manifest).created
    found = commit(stubs, project, entries, open_upload=True)
    assert not found.created
    assert found.version.number == 0


def test_files_of_another_entity_are_not_found(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    log(stubs, project, {"w": chunks})
    with refused("CHUNKS_MISSING"):
        commit(stubs, project, [entry("w", chunks)], entity=f"e-{uuid.uuid4().hex[:8]}")


def test_known_content_may_have_references(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    log(stubs, project, {"w": chunks})
    far = pb.ManifestEntry(path="far", size_bytes=7, reference_uri="s3://bucket/key", reference_tag="e")
    made = commit(stubs, project, [entry("w", chunks), far])
    assert (made.created, made.version.file_count, made.version.size_bytes) == (True, 2, 7 + len(chunks[0]))
    listing = pb.ListModelArtifactFilesRequest(id=made.version.id, path_prefix="far")
    assert list(stubs.artifacts.ListModelArtifactFiles(listing).entries) == [far]


def test_concurrent_commits_of_known_content_make_one_version(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    log(stubs, project, {"w": chunks})
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: commit(stubs, project, [entry("w", chunks)]), range(8)))
    assert len({reply.version.id for reply in replies}) == 1
    assert sum(reply.created for reply in replies) == 1


def test_damaged_content_has_to_be_sent_again(live_server_factory: Factory, project: str) -> None:
    server = live_server_factory().start()
    stubs = server.stubs()
    chunks = random_chunks(2)
    version = log(stubs, project, {"w": chunks})
    (pack,) = (server.data / "store").rglob("packs/*/*")
    damage(pack, chunks[1])
    with refused("CHUNK_CORRUPT"):
        fast_upload.read(stubs, version.id, "w")
    with refused("NOT_FOUND"):
        commit(stubs, project, [], name="bert", digest=version.digest)
    opened = commit(stubs, project, [entry("w", chunks)], name="bert", open_upload=True)
    assert fast_upload.find_missing(stubs, opened.upload_id, chunks) == [1]
    fast_upload.send(stubs, opened.upload_id, chunks[1:])
    header = pb.VersionHeader(project=project, name="bert", digest=version.digest)
    again = fast_upload.commit(stubs, opened.upload_id, header, [fast_upload.entry("w", chunks)])
    assert (again.version.id, again.created) == (version.id, False)
    assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)
    assert commit(stubs, project, [], name="bert", digest=version.digest).version.id == version.id


def damage(pack: Path, chunk: bytes) -> None:
    """Changes one byte of a chunk in its pack."""
    stored = bytearray(pack.read_bytes())
    stored[stored.index(chunk) + 1000] ^= 1
    pack.write_bytes(stored)


_CHUNKS = [bytes(1000)]
_FILE = entry("w", _CHUNKS)
REFUSALS: dict[str, tuple[list[pb.ManifestEntry], dict[str, Any], str]] = {
    "another size": ([entry("w", _CHUNKS, size_bytes=999)], {}, "entries.size_bytes"),
    "a negative size": ([entry("w", _CHUNKS, size_bytes=-2)], {"digest": "ab" * 32}, "entries[0].size_bytes"),
    "no digest": ([entry("w", _CHUNKS, digest="")], {"digest": "ab" * 32}, "entries[0].digest"),
    "a digest of something else": ([_FILE], {"digest": "ab" * 32}, "header.digest"),
    "a path twice": ([_FILE, _FILE], {}, "entries[1].path"),
    "a file that is a folder": ([_FILE, entry("w/x", _CHUNKS)], {}, "entries.path"),
    "a path that leaves": ([entry("../w", _CHUNKS)], {}, "entries[0].path"),
    "chunks": ([fast_upload.entry("w", _CHUNKS)], {"digest": "ab" * 32}, "entries[0].chunks"),
    "a base": ([_FILE], {"base_version_id": str(uuid.UUID(int=7))}, "header.base_version_id"),
    "a reference with a digest": (
        [entry("w", _CHUNKS, reference_uri="s3://b/k")],
        {},
        "entries.reference_uri",
    ),
    "a bad alias": ([_FILE], {"aliases": ["v1"]}, "header.aliases[0]"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_entries_are_refused_and_named(live_server: LiveServer, project: str, case: str) -> None:
    stubs = live_server.stubs()
    log(stubs, project, {"w": _CHUNKS})
    before = events(stubs, project)
    entries, header, field = REFUSALS[case]
    with refused("INVALID_FIELD", field):
        commit(stubs, project, entries, **header)
    assert events(stubs, project) == before


def open_upload(stubs: Stubs, **header: Any) -> str:
    request = pb.CommitEqualContentRequest(header=pb.VersionHeader(**header), open_upload=True)
    reply: pb.CommitEqualContentResponse = stubs.artifacts.CommitEqualContent(request)
    assert not reply.HasField("version")
    return reply.upload_id


def test_a_header_is_checked_before_its_content_is_sent(stubs: Stubs, project: str) -> None:
    base = log(stubs, project, {"w": random_chunks(1)}, type="dataset")
    before = events(stubs, project)
    with refused("TYPE_MISMATCH"):
        open_upload(stubs, project=project, name="bert", type="model")
    with refused("INVALID_FIELD"):
        open_upload(stubs, project=project, name="a/b")
    with refused("INVALID_FIELD"):
        open_upload(stubs, project=project, name="bert", aliases=["v7"])
    with refused("INVALID_FIELD"):
        open_upload(stubs, project="model-registry", name="bert")
    missing = "0190a8e0-0000-7000-8000-000000000000"
    with refused("NOT_FOUND"):
        open_upload(stubs, project=project, name="bert", run_id=missing)
    with refused("NOT_FOUND"):
        open_upload(stubs, project=project, name="bert", base_version_id=missing)
    chunks = random_chunks(1)
    upload_id = open_upload(stubs, project=project, name="bert", type="dataset", base_version_id=base.id)
    assert events(stubs, project) == before
    fast_upload.send(stubs, upload_id, chunks)
    header = pb.VersionHeader(project=project, name="bert", type="dataset", base_version_id=base.id)
    made = fast_upload.commit(stubs, upload_id, header, [fast_upload.entry("new", chunks)])
    assert (made.created, made.version.number, made.version.file_count) == (True, 1, 2)


def test_checking_a_header_makes_no_name(stubs: Stubs, project: str) -> None:
    assert open_upload(stubs, project=project, name="new", type="model")
    with refused("NOT_FOUND"):
        stubs.artifacts.GetModelArtifact(pb.GetModelArtifactRequest(ref=f"{project}/new"))


def test_missing_files_of_another_type_open_no_upload(stubs: Stubs, project: str) -> None:
    log(stubs, project, {"w": random_chunks(1)}, type="dataset")
    with refused("TYPE_MISMATCH"):
        commit(stubs, project, [entry("w", random_chunks(1))], name="bert", type="model", open_upload=True)
