"""Commits without new bytes: content that is there already, and versions built on others."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from modelyard.contract import chunking
from modelyard.v1 import event_pb2, run_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import Refusal, read, refused
from tests.parts.server import LiveServer, Stubs, create_key, new_project

Files = Mapping[str, Sequence[bytes]]


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def project() -> str:
    return new_project()


def log(stubs: Stubs, project: str, files: Files, **header: Any) -> pb.ModelArtifactVersion:
    version: pb.ModelArtifactVersion = fast_upload.log(stubs, project, "bert", files, **header).version
    return version


def again(stubs: Stubs, project: str, digest: str, request_id: str = "", **header: Any) -> Any:
    """CommitEqualContent."""
    fields = pb.VersionHeader(**({"project": project, "name": "bert", "digest": digest} | header))
    return stubs.artifacts.CommitEqualContent(
        pb.CommitEqualContentRequest(header=fields, request_id=request_id)
    ).version


def build(
    stubs: Stubs, project: str, base: str, files: Files, removed: Sequence[str] = (), **header: Any
) -> pb.CommitModelArtifactResponse:
    """A version on a base: uploads and names only `files`."""
    given = {"name": "bert", "base_version_id": base, "removed_paths": removed} | header
    return fast_upload.log(stubs, project, given.pop("name"), files, **given)


def contents(stubs: Stubs, version_id: str) -> dict[str, bytes]:
    request = pb.ListModelArtifactFilesRequest(id=version_id)
    paths = [entry.path for entry in stubs.artifacts.ListModelArtifactFiles(request).entries]
    return {path: fast_upload.read(stubs, version_id, path) for path in paths}


def digest_of(files: Files) -> str:
    """The version digest, by the published rule."""
    return chunking.version_digest(
        chunking.Entry(path, sum(map(len, chunks)), bytes.fromhex(fast_upload.file_digest(chunks)))
        for path, chunks in files.items()
    ).hex()


def delete(stubs: Stubs, version_id: str) -> None:
    request = pb.DeleteModelArtifactVersionRequest(id=version_id, force=True)
    stubs.artifacts.DeleteModelArtifactVersion(request)


def events(stubs: Stubs, project: str) -> list[tuple[str, str]]:
    found = stubs.events.ListEvents(event_pb2.ListEventsRequest(project=project, page_size=1000)).events
    return [(event_pb2.EventType.Name(e.type).removeprefix("EVENT_TYPE_"), e.alias or e.tag) for e in found]


def test_equal_content_is_the_version_that_has_it(stubs: Stubs, project: str) -> None:
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project, name="r"))).run
    first = log(stubs, project, {"w": random_chunks(1)}, tags=["raw"])
    log(stubs, project, {"w": random_chunks(1)})
    before = len(events(stubs, project))
    found = again(
        stubs, project, first.digest, aliases=["best"], run_id=run.id, tags=["good"], description="d"
    )
    assert (found.id, found.number) == (first.id, 0)
    assert (list(found.aliases), list(found.tags)) == (["best", "latest"], ["raw", "good"])
    assert found.description == "d"
    graph = stubs.artifacts.GetLineage(pb.GetLineageRequest(run_id=run.id, depth=1))
    assert [(e.version_id, e.relation) for e in graph.edges] == [(first.id, pb.LINEAGE_RELATION_OUTPUT)]
    assert events(stubs, project)[before:] == [
        ("VERSION_UPDATED", ""),
        ("TAG_ADDED", "good"),
        ("ALIAS_ADDED", "best"),
        ("ALIAS_ADDED", "latest"),
    ]


def test_repeating_equal_content_changes_nothing(stubs: Stubs, project: str) -> None:
    version = log(stubs, project, {"w": random_chunks(1)}, description="d", tags=["t"])
    before = events(stubs, project)
    assert again(stubs, project, version.digest) == version
    assert again(stubs, project, version.digest, description="d", tags=["t"]) == version
    assert events(stubs, project) == before


def test_a_repeated_request_gets_the_reply_it_got(stubs: Stubs, project: str) -> None:
    version = log(stubs, project, {"w": random_chunks(1)})
    request_id = uuid.uuid4().hex
    reply = again(stubs, project, version.digest, request_id, aliases=["best"])
    delete(stubs, version.id)
    assert again(stubs, project, version.digest, request_id, aliases=["best"]) == reply
    with refused("REQUEST_ID_REUSED", "request_id"):
        again(stubs, project, version.digest, request_id, aliases=["other"])


def test_content_of_a_deleted_version_is_not_found(stubs: Stubs, project: str) -> None:
    version = log(stubs, project, {"w": random_chunks(1)})
    delete(stubs, version.id)
    with refused("NOT_FOUND"):
        again(stubs, project, version.digest)


def test_content_of_another_name_or_project_is_not_found(stubs: Stubs, project: str) -> None:
    version = log(stubs, project, {"w": random_chunks(1)})
    with refused("NOT_FOUND"):
        again(stubs, project, version.digest, name="other")
    with refused("NOT_FOUND"):
        again(stubs, new_project(), version.digest)
    listed = stubs.artifacts.ListModelArtifacts(pb.ListModelArtifactsRequest(project=project))
    assert [artifact.name for artifact in listed.model_artifacts] == ["bert"]


def test_equal_content_takes_the_expiry_of_the_last_log(stubs: Stubs, project: str) -> None:
    hour = Duration(seconds=3600)
    version = log(stubs, project, {"w": random_chunks(1)}, ttl=hour)
    assert again(stubs, project, version.digest, ttl=hour).expire_time.seconds >= version.expire_time.seconds
    assert not again(stubs, project, version.digest).HasField("expire_time")
    assert again(stubs, project, version.digest, ttl=hour).HasField("expire_time")
    link = registry_pb.LinkModelArtifactVersionRequest(id=version.id, target_ref=f"{project}-r/Churn")
    stubs.registry.LinkModelArtifactVersion(link)
    assert not again(stubs, project, version.digest, ttl=hour).HasField("expire_time")


EQUAL_REFUSALS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "no digest": ({"digest": ""}, "INVALID_FIELD", ["header.digest"]),
    "a short digest": ({"digest": "ab" * 31}, "INVALID_FIELD", ["header.digest"]),
    "an upper-case digest": ({"digest": "AB" * 32}, "INVALID_FIELD", ["header.digest"]),
    "no name": ({"name": ""}, "INVALID_FIELD", ["header.name"]),
    "a bad alias": ({"aliases": ["ok", "v7"]}, "INVALID_FIELD", ["header.aliases[1]"]),
    "a bad tag": ({"tags": ["a/b"]}, "INVALID_FIELD", ["header.tags[0]"]),
    "too many tags together": ({"tags": [f"t{n}" for n in range(100)]}, "INVALID_FIELD", ["header.tags"]),
    "no time": ({"ttl": Duration()}, "INVALID_FIELD", ["header.ttl"]),
    "a time without end": ({"ttl": Duration(seconds=1 << 36)}, "INVALID_FIELD", ["header.ttl"]),
    "another type": ({"type": "dataset"}, "TYPE_MISMATCH", []),
    "a run that is none": ({"run_id": "r1"}, "INVALID_FIELD", ["header.run_id"]),
    "an unknown run": ({"run_id": str(uuid.UUID(int=7))}, "NOT_FOUND", []),
    "other content": ({"digest": "ab" * 32}, "NOT_FOUND", []),
    "no such project": ({"project": "nowhere"}, "NOT_FOUND", []),
    "a long request_id": ({"request_id": "x" * 129}, "INVALID_FIELD", ["request_id"]),
}


@pytest.mark.parametrize("case", EQUAL_REFUSALS)
def test_bad_equal_content_names_its_field(stubs: Stubs, project: str, case: str) -> None:
    fields, reason, named = EQUAL_REFUSALS[case]
    version = log(stubs, project, {"w": random_chunks(1)}, tags=["one"])
    before = events(stubs, project)
    with refused(reason, *named):
        again(stubs, **({"project": project, "digest": version.digest} | fields))
    assert events(stubs, project) == before


def test_a_version_on_a_base_has_its_files_without_sending_them(stubs: Stubs, project: str) -> None:
    old: Files = {"a": random_chunks(2), "b/c": random_chunks(1), "b/d": random_chunks(1), "empty": []}
    base = log(stubs, project, old)
    new: Files = {"b/c": random_chunks(1), "e": random_chunks(1)}
    whole: Files = {"a": old["a"], **new, "empty": []}
    reply = build(stubs, project, base.id, new, removed=["b/d"], digest=digest_of(whole))
    assert (reply.created, reply.version.number, reply.version.file_count) == (True, 1, 4)
    assert reply.version.digest == digest_of(whole)
    assert reply.version.size_bytes == sum(len(chunk) for chunks in whole.values() for chunk in chunks)
    assert contents(stubs, reply.version.id) == {path: b"".join(chunks) for path, chunks in whole.items()}
    delete(stubs, base.id)
    assert contents(stubs, reply.version.id) == {path: b"".join(chunks) for path, chunks in whole.items()}


def test_nothing_changed_on_a_base_is_the_base(stubs: Stubs, project: str) -> None:
    base = log(stubs, project, {"a": random_chunks(1), "b": random_chunks(1)})
    reply = build(stubs, project, base.id, {})
    assert (reply.created, reply.version.id) == (False, base.id)


def test_a_base_may_be_of_another_name_and_project(stubs: Stubs, project: str) -> None:
    files: Files = {"a": random_chunks(1)}
    base = log(stubs, project, files)
    reply = build(stubs, new_project(), base.id, {"b": random_chunks(1)}, name="other")
    assert reply.version.number == 0
    assert contents(stubs, reply.version.id)["a"] == b"".join(files["a"])


def test_references_and_stated_hashes_are_taken_over(stubs: Stubs, project: str) -> None:
    chunks = random_chunks(1)
    upload = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload, chunks)
    entries = [
        fast_upload.entry("a", chunks, sha256=hashlib.sha256(chunks[0]).hexdigest()),
        pb.ManifestEntry(path="r", reference_uri="s3://b/k", reference_tag="etag", size_bytes=7),
        pb.ManifestEntry(path="s", reference_uri="s3://b/l"),
    ]
    header = pb.VersionHeader(project=project, name="bert")
    base = fast_upload.commit(stubs, upload, header, entries).version
    version = build(stubs, project, base.id, {"b": random_chunks(1)}, removed=["s"]).version
    request = pb.ListModelArtifactFilesRequest(id=version.id, include_chunks=True)
    found = stubs.artifacts.ListModelArtifactFiles(request).entries
    assert [entry.path for entry in found] == ["a", "b", "r"]
    assert found[0].sha256 == entries[0].sha256 != ""
    assert found[0].chunks == entries[0].chunks
    assert found[2] == entries[1]
    assert version.size_bytes == sum(entry.size_bytes for entry in found)


def test_a_file_given_replaces_a_reference_of_its_path(stubs: Stubs, project: str) -> None:
    upload = fast_upload.create(stubs, project=project)
    entry = pb.ManifestEntry(path="w", reference_uri="s3://b/k")
    base = fast_upload.commit(stubs, upload, pb.VersionHeader(project=project, name="bert"), [entry]).version
    files: Files = {"w": random_chunks(1)}
    version = build(stubs, project, base.id, files, removed=["w"]).version
    assert contents(stubs, version.id) == {"w": b"".join(files["w"])}


def test_a_repeated_commit_on_a_base_outlives_the_base(stubs: Stubs, project: str) -> None:
    base = log(stubs, project, {"a": random_chunks(1)})
    files: Files = {"b": random_chunks(1)}
    request_id = uuid.uuid4().hex
    first = build(stubs, project, base.id, files, request_id=request_id)
    delete(stubs, base.id)
    assert build(stubs, project, base.id, files, request_id=request_id) == first
    with refused("REQUEST_ID_REUSED", "request_id"):
        build(stubs, project, base.id, {"c": random_chunks(1)}, request_id=request_id)
    with refused("NOT_FOUND"):
        build(stubs, project, base.id, files, request_id=uuid.uuid4().hex)


BASE_REFUSALS: dict[str, tuple[Files, dict[str, Any], str, list[str]]] = {
    "no id": ({}, {"base_version_id": "v0"}, "INVALID_FIELD", ["header.base_version_id"]),
    "unknown": ({}, {"base_version_id": str(uuid.UUID(int=7))}, "NOT_FOUND", []),
    "removed is not there": ({}, {"removed_paths": ["a", "x"]}, "INVALID_FIELD", ["header.removed_paths[1]"]),
    "removed without a base": (
        {},
        {"base_version_id": "", "removed_paths": ["a"]},
        "INVALID_FIELD",
        ["header.removed_paths"],
    ),
    "too many removed": (
        {},
        {"removed_paths": [f"p{n}" for n in range(10_001)]},
        "INVALID_FIELD",
        ["header.removed_paths"],
    ),
    "a folder over a file": ({"a/b": []}, {}, "INVALID_FIELD", ["entries.path"]),
    "a file over a folder": ({"d": []}, {}, "INVALID_FIELD", ["entries.path"]),
    "another digest": ({"x": []}, {"digest": "ab" * 32}, "INVALID_FIELD", ["header.digest"]),
}


@pytest.mark.parametrize("case", BASE_REFUSALS)
def test_a_bad_base_is_refused_by_its_field_and_changes_nothing(
    stubs: Stubs, project: str, case: str
) -> None:
    files, header, reason, named = BASE_REFUSALS[case]
    base = log(stubs, project, {"a": random_chunks(1), "d/e": random_chunks(1)})
    before = events(stubs, project)
    given = {"base_version_id": base.id} | header
    with refused(reason, *named):
        fast_upload.log(stubs, project, "bert", files, **given)
    assert events(stubs, project) == before


def test_a_base_of_another_entity_is_refused(keyed_server: LiveServer) -> None:
    stubs = keyed_server.stubs(create_key(keyed_server, "all", "--all-entities"))
    other = f"entity-{uuid.uuid4().hex[:8]}"
    upload = fast_upload.create(stubs, entity=other, project="p")
    header = pb.VersionHeader(entity=other, project="p", name="bert")
    base = fast_upload.commit(stubs, upload, header, [fast_upload.entry("a", [])]).version
    with refused("INVALID_FIELD", "header.base_version_id"):
        build(stubs, new_project(), base.id, {})
    guest = keyed_server.stubs(create_key(keyed_server, "guest", "--entity", "guests"))
    with refused("NOT_FOUND"):
        build(guest, "p", base.id, {})


@pytest.mark.parametrize(
    "header",
    [{"base_version_id": str(uuid.UUID(int=7))}, {"removed_paths": ["a"]}],
    ids=["base", "removed"],
)
def test_the_simple_upload_takes_no_base(stubs: Stubs, project: str, header: dict[str, Any]) -> None:
    message = pb.UploadModelArtifactRequest(header=pb.VersionHeader(project=project, name="bert", **header))
    with refused("INVALID_FIELD", f"header.{next(iter(header))}"):
        stubs.artifacts.UploadModelArtifact(iter([message]))


def test_a_large_base_is_built_on(stubs: Stubs, project: str) -> None:
    chunk = os.urandom(100)
    upload = fast_upload.create(stubs, project=project)
    fast_upload.send(stubs, upload, [chunk])
    entries = [fast_upload.entry(f"f/{n}", [chunk]) for n in range(5000)]
    base = fast_upload.commit(stubs, upload, pb.VersionHeader(project=project, name="bert"), entries).version
    removed = [f"f/{n}" for n in range(0, 5000, 2)]
    version = build(stubs, project, base.id, {"g": random_chunks(1)}, removed=removed).version
    assert version.file_count == 2501


def test_a_base_that_is_deleted_concurrently_is_used_or_not_found(stubs: Stubs, project: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        for number in range(8):
            chunks = random_chunks(1)
            base = log(stubs, project, {"a": chunks})
            deleting = pool.submit(delete, stubs, base.id)
            building = pool.submit(build, stubs, project, base.id, {"b": random_chunks(1)})
            deleting.result()
            error = building.exception()
            if error is None:
                assert contents(stubs, building.result().version.id)["a"] == b"".join(chunks)
            else:
                refusal = Refusal()
                assert isinstance(error, grpc.RpcError), (number, error)
                read(error, refusal)
                assert refusal.reason == "NOT_FOUND"
