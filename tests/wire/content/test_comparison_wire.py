"""Versions compared: which files differ, and how many bytes their chunks share."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import CHUNK, random_chunks
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, create_key, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def everywhere(any_keyed_server: LiveServer) -> Stubs:
    """A caller who may act in all entities."""
    return any_keyed_server.stubs(create_key(any_keyed_server, "all", "--all-entities"))


def compare(stubs: Stubs, **request: Any) -> pb.CompareModelArtifactVersionsResponse:
    asked = pb.CompareModelArtifactVersionsRequest(**request)
    reply: pb.CompareModelArtifactVersionsResponse = stubs.artifacts.CompareModelArtifactVersions(asked)
    return reply


def kinds(reply: pb.CompareModelArtifactVersionsResponse) -> dict[str, str]:
    names = {number: name.removeprefix("FILE_CHANGE_KIND_") for name, number in pb.FileChangeKind.items()}
    return {change.path: names[change.kind] for change in reply.changes}


def test_files_are_added_removed_changed_or_the_same(stubs: Stubs) -> None:
    project, (a, b, c) = new_project(), random_chunks(3)
    before = fast_upload.log(stubs, project, "net", {"gone": [a], "kept": [b], "new/w": [a, b]}).version
    after = fast_upload.log(stubs, project, "net", {"kept": [b], "new/w": [a, c], "z": [c]}).version
    reply = compare(stubs, id=after.id, base_id=before.id)
    assert kinds(reply) == {"gone": "REMOVED", "new/w": "CHANGED", "z": "ADDED"}
    gone, changed, added = reply.changes
    assert (gone.HasField("entry"), gone.base_entry.size_bytes) == (False, CHUNK)
    assert changed.base_entry.digest == fast_upload.file_digest([a, b])
    assert changed.entry.digest == fast_upload.file_digest([a, c])
    assert (added.HasField("base_entry"), added.entry.size_bytes) == (False, CHUNK)
    total = reply.total
    assert (total.added_count, total.added_bytes) == (1, CHUNK)
    assert (total.removed_count, total.removed_bytes) == (1, CHUNK)
    assert (total.changed_count, total.changed_bytes) == (1, 2 * CHUNK)
    assert (total.unchanged_count, total.unchanged_bytes) == (1, CHUNK)
    assert (reply.version_id, reply.base_version_id, reply.next_page_token) == (after.id, before.id, "")
    assert kinds(compare(stubs, id=after.id, base_id=after.id)) == {}


def test_bytes_are_shared_by_chunk_wherever_the_base_has_them(stubs: Stubs) -> None:
    project, (a, b, c, d) = new_project(), random_chunks(4)
    fast_upload.log(stubs, project, "net", {"whole": [a, b], "w": [c], "empty": []})
    fast_upload.log(stubs, project, "net", {"moved": [a, b], "w": [c, b, d], "x": [d], "empty": []})
    reply = compare(stubs, ref=f"{project}/net:v1", base_ref=f"{project}/net:v0")
    assert {change.path: change.shared_bytes for change in reply.changes if change.HasField("entry")} == {
        "moved": 2 * CHUNK,
        "w": 2 * CHUNK,
        "x": 0,
    }
    assert reply.total.shared_bytes == 4 * CHUNK
    below = compare(stubs, ref=f"{project}/net:v1", base_ref=f"{project}/net:v0", path_prefix="mo")
    assert (kinds(below), below.total.shared_bytes) == ({"moved": "ADDED"}, 2 * CHUNK)
    assert below.total.removed_count == 0


def test_references_are_compared_by_what_they_point_at(stubs: Stubs) -> None:
    project = new_project()

    def log(**targets: str) -> str:
        upload = fast_upload.create(stubs, project=project)
        entries = [
            pb.ManifestEntry(path=path, reference_uri="s3://b/k", reference_tag=tag, size_bytes=7)
            for path, tag in targets.items()
        ]
        header = pb.VersionHeader(project=project, name="refs")
        return fast_upload.commit(stubs, upload, header, entries).version.id

    reply = compare(stubs, base_id=log(same="1", moved="1"), id=log(same="1", moved="2"))
    (change,) = reply.changes
    assert (change.path, change.entry.reference_tag, change.base_entry.reference_tag) == ("moved", "2", "1")
    assert not change.HasField("shared_bytes")
    assert (reply.total.unchanged_bytes, reply.total.shared_bytes) == (7, 0)


def test_pages_together_have_every_change_once(stubs: Stubs) -> None:
    project, (a, b) = new_project(), random_chunks(2, 100)
    fast_upload.log(stubs, project, "many", {f"{n:02}": [a] for n in range(30)})
    fast_upload.log(stubs, project, "many", {f"{n:02}": [a if n % 3 else b] for n in range(10, 40)})
    request = {"ref": f"{project}/many:v1", "base_ref": f"{project}/many:v0"}
    whole = compare(stubs, **request)
    found, token, pages = {}, "", 0
    while token or not pages:
        page = compare(stubs, **request, page_size=7, page_token=token)
        assert page.HasField("total") == (not pages)
        assert len(page.changes) <= 7
        found |= kinds(page)
        token, pages = page.next_page_token, pages + 1
    assert found == kinds(whole)
    assert (pages, list(found)) == (4, sorted(found))
    total = whole.total
    counts = (total.added_count, total.removed_count, total.changed_count, total.unchanged_count)
    assert counts == (10, 10, 6, 14)
    with refused("INVALID_PAGE_TOKEN", "page_token"):
        token = compare(stubs, **request, page_size=7).next_page_token
        compare(stubs, ref=request["base_ref"], base_ref=request["ref"], page_token=token)


def test_a_comparison_needs_a_base(stubs: Stubs) -> None:
    project = new_project()
    version = fast_upload.log(stubs, project, "net", {"w": random_chunks(1)}).version
    with refused("INVALID_FIELD", "base_id"):
        compare(stubs, id=version.id)
    with refused("INVALID_FIELD", "base_ref"):
        compare(stubs, id=version.id, base_ref="")
    with refused("NOT_FOUND"):
        compare(stubs, id=version.id, base_ref=f"{project}/net:v7")


def test_both_versions_must_be_the_callers_to_read(any_keyed_server: LiveServer, everywhere: Stubs) -> None:
    project, chunks = new_project(), random_chunks(2)
    ids = {}
    for entity, content in (("ours", chunks), ("theirs", chunks[:1])):
        upload = fast_upload.create(everywhere, entity=entity, project=project)
        fast_upload.send(everywhere, upload, content)
        header = pb.VersionHeader(entity=entity, project=project, name="net")
        entries = [fast_upload.entry("w", content), fast_upload.entry("first", chunks[:1])]
        ids[entity] = fast_upload.commit(everywhere, upload, header, entries).version.id
    ours = any_keyed_server.stubs(create_key(any_keyed_server, "ours", "--entity", "ours"))
    with refused("NOT_FOUND"):
        compare(ours, id=ids["ours"], base_id=ids["theirs"])
    with refused("NOT_FOUND"):
        compare(ours, id=ids["theirs"], base_id=ids["ours"])
    reply = compare(everywhere, id=ids["ours"], base_id=ids["theirs"])
    assert kinds(reply) == {"w": "CHANGED"}
    assert (reply.changes[0].shared_bytes, reply.total.shared_bytes) == (CHUNK, 2 * CHUNK)
