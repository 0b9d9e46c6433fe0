"""Versions with a time to live: hidden once they have expired, deleted once, by any replica."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import alias_pb2, event_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project, production_place

WAIT_SECONDS = 20.0
SECOND = Duration(seconds=1)
NEVER = {"MODELYARD_SERVER_SWEEP_SECONDS": "86400"}
OFTEN = {"MODELYARD_SERVER_SWEEP_SECONDS": "0.3"}


@pytest.fixture(scope="module", params=["sqlite+disk", "postgresql+s3"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LiveServer, list[LiveServer]]]:
    """A server that does not sweep, and those that do: two replicas where there can be."""
    made = []
    if request.param == "sqlite+disk":
        made = [LiveServer(tmp_path_factory.mktemp("ttl"), env=env) for env in (NEVER, OFTEN)]
    else:
        place, env = production_place(request)
        made = [
            LiveServer(tmp_path_factory.mktemp("ttl"), place=place, env={**env, **sweep})
            for sweep in (OFTEN, OFTEN)
        ]
        place, env = production_place(request)
        made.insert(0, LiveServer(tmp_path_factory.mktemp("ttl"), place=place, env={**env, **NEVER}))
    try:
        for server in made:
            server.start()
        time.sleep(1.5)  # the first sweep, which comes soon after the start, is over
        yield made[0], made[1:]
    finally:
        for server in made:
            server.close()


@pytest.fixture
def unswept(servers: tuple[LiveServer, list[LiveServer]]) -> Stubs:
    return servers[0].stubs()


@pytest.fixture
def swept(servers: tuple[LiveServer, list[LiveServer]]) -> Stubs:
    return servers[1][0].stubs()


@pytest.fixture
def project() -> str:
    return new_project()


def log(stubs: Stubs, project: str, chunks: Sequence[bytes] = (), **header: Any) -> pb.ModelArtifactVersion:
    files = {"w": chunks or random_chunks(1, 500)}
    version: pb.ModelArtifactVersion = fast_upload.log(stubs, project, "bert", files, **header).version
    return version


def resolve(stubs: Stubs, **wanted: str) -> pb.ModelArtifactVersion:
    version: pb.ModelArtifactVersion = stubs.artifacts.GetModelArtifactVersion(
        pb.GetModelArtifactVersionRequest(**wanted)
    ).version
    return version


def link(stubs: Stubs, version: pb.ModelArtifactVersion, target: str) -> None:
    request = registry_pb.LinkModelArtifactVersionRequest(id=version.id, target_ref=target)
    stubs.registry.LinkModelArtifactVersion(request)


def events(stubs: Stubs, project: str) -> list[event_pb2.Event]:
    request = event_pb2.ListEventsRequest(project=project, page_size=1000)
    return list(stubs.events.ListEvents(request).events)


def told(found: Sequence[event_pb2.Event]) -> list[tuple[str, str, str, str]]:
    return [
        (event_pb2.EventType.Name(e.type).removeprefix("EVENT_TYPE_"), e.alias, e.previous_version, e.version)
        for e in found
    ]


def eventually(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def deleted(stubs: Stubs, project: str) -> list[str]:
    kind = event_pb2.EVENT_TYPE_VERSION_DELETED
    return [event.version for event in events(stubs, project) if event.type == kind]


PAST: dict[str, Callable[[Stubs, pb.ModelArtifactVersion], object]] = {
    "by id": lambda stubs, version: resolve(stubs, id=version.id),
    "by number": lambda stubs, version: resolve(stubs, ref=f"{version.project}/bert:v1"),
    "by alias": lambda stubs, version: resolve(stubs, ref=f"{version.project}/bert:best"),
    "its files": lambda stubs, version: stubs.artifacts.ListModelArtifactFiles(
        pb.ListModelArtifactFilesRequest(id=version.id)
    ),
    "its bytes": lambda stubs, version: fast_upload.read(stubs, version.id, "w"),
    "linking it": lambda stubs, version: link(stubs, version, f"{version.project}-r/Churn"),
    "moving an alias to it": lambda stubs, version: stubs.aliases.UpdateAliases(
        alias_pb2.UpdateAliasesRequest(
            ref=f"{version.project}/bert", updates=[alias_pb2.AliasUpdate(alias="a", version="v1")]
        )
    ),
    "changing it": lambda stubs, version: stubs.artifacts.UpdateModelArtifactVersion(
        pb.UpdateModelArtifactVersionRequest(version=version, update_mask=FieldMask(paths=["expire_time"]))
    ),
    "deleting it": lambda stubs, version: stubs.artifacts.DeleteModelArtifactVersion(
        pb.DeleteModelArtifactVersionRequest(id=version.id, force=True)
    ),
    "its content": lambda stubs, version: stubs.artifacts.CommitEqualContent(
        pb.CommitEqualContentRequest(
            header=pb.VersionHeader(project=version.project, name="bert", digest=version.digest)
        )
    ),
    "building on it": lambda stubs, version: fast_upload.log(
        stubs, version.project, "bert", {}, base_version_id=version.id
    ),
}


def test_an_expired_version_is_hidden_before_any_sweep(unswept: Stubs, project: str) -> None:
    kept, chunks = log(unswept, project), random_chunks(1, 500)
    version = log(unswept, project, chunks, ttl=SECOND, aliases=["best"])
    assert resolve(unswept, ref=f"{project}/bert:best") == version
    time.sleep(1.2)
    for what, ask in PAST.items():
        with refused("NOT_FOUND") as refusal:
            ask(unswept, version)
        assert refusal.metadata["resource_type"] == "version", what
    listed = unswept.artifacts.ListModelArtifactVersions(
        pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert")
    )
    assert [found.id for found in listed.versions] == [kept.id]
    batch = unswept.artifacts.BatchGetModelArtifactVersions(
        pb.BatchGetModelArtifactVersionsRequest(
            requests=[pb.GetModelArtifactVersionRequest(id=one.id) for one in (kept, version)]
        )
    )
    assert [result.HasField("version") for result in batch.results] == [True, False]
    assert log(unswept, project, chunks).number == 2


def test_lineage_shows_an_expired_version_as_deleted(unswept: Stubs, project: str) -> None:
    version = log(unswept, project, ttl=SECOND)
    time.sleep(1.2)
    graph = unswept.artifacts.GetLineage(pb.GetLineageRequest(id=version.id, depth=1))
    assert [(node.id, node.deleted) for node in graph.versions] == [(version.id, True)]


def test_a_sweep_deletes_expired_versions_as_the_server(swept: Stubs, project: str) -> None:
    log(swept, project)
    log(swept, project, ttl=SECOND, aliases=["best"])
    before = len(events(swept, project))
    eventually(lambda: bool(deleted(swept, project)))
    found = events(swept, project)[before:]
    assert told(found) == [
        ("ALIAS_REMOVED", "best", "", "v1"),
        ("ALIAS_ADDED", "latest", "v1", "v0"),
        ("VERSION_DELETED", "", "", "v1"),
    ]
    assert {event.principal for event in found} == {"modelyard"}
    assert resolve(swept, ref=f"{project}/bert").number == 0


def test_concurrent_sweeps_delete_each_version_once(swept: Stubs, project: str) -> None:
    kept = log(swept, project)
    for _ in range(12):
        log(swept, project, ttl=Duration(seconds=2))
    eventually(lambda: len(deleted(swept, project)) >= 12)
    time.sleep(1)
    found = events(swept, project)
    assert deleted(swept, project) == [f"v{number}" for number in range(1, 13)]
    moves = [event for event in found if event.alias == "latest"][13:]
    assert [(event.previous_version, event.version) for event in moves] == [("v12", "v0")]
    assert resolve(swept, ref=f"{project}/bert").id == kept.id
    assert log(swept, project).number == 13


def test_the_last_version_takes_latest_with_it(swept: Stubs, project: str) -> None:
    version = log(swept, project, ttl=SECOND)
    eventually(lambda: bool(deleted(swept, project)))
    assert told(events(swept, project)[-2:]) == [
        ("ALIAS_REMOVED", "latest", "", "v0"),
        ("VERSION_DELETED", "", "", "v0"),
    ]
    with refused("NOT_FOUND"):
        resolve(swept, id=version.id)


def test_an_expiry_can_be_set_moved_and_cleared(swept: Stubs, project: str) -> None:
    def expire(version: pb.ModelArtifactVersion, seconds: float | None) -> pb.ModelArtifactVersion:
        changed = pb.ModelArtifactVersion(id=version.id)
        if seconds is not None:
            changed.expire_time.FromMicroseconds(int((time.time() + seconds) * 1e6))
        request = pb.UpdateModelArtifactVersionRequest(
            version=changed, update_mask=FieldMask(paths=["expire_time"])
        )
        stored: pb.ModelArtifactVersion = swept.artifacts.UpdateModelArtifactVersion(request).version
        return stored

    soon, later, kept = (log(swept, project, ttl=Duration(seconds=n)) for n in (60, 3, 3))
    expire(soon, 1.5)
    expire(later, 3600)
    assert not expire(kept, None).HasField("expire_time")
    time.sleep(3)
    eventually(lambda: bool(deleted(swept, project)))
    assert deleted(swept, project) == ["v0"]
    assert [resolve(swept, id=one.id).number for one in (later, kept)] == [1, 2]


def test_linking_a_version_clears_its_expiry(swept: Stubs, project: str) -> None:
    version = log(swept, project, ttl=SECOND)
    link(swept, version, f"{project}-r/Churn")
    assert not resolve(swept, id=version.id).HasField("expire_time")
    assert told(events(swept, project)[-1:]) == [("VERSION_UPDATED", "", "", "v0")]
    time.sleep(2)
    assert resolve(swept, ref=f"{project}-r/Churn").id == version.id
    update = pb.UpdateModelArtifactVersionRequest(
        version=version, update_mask=FieldMask(paths=["expire_time"])
    )
    update.version.expire_time.CopyFrom(Timestamp(seconds=4_000_000_000))
    with refused("ETAG_MISMATCH"):
        swept.artifacts.UpdateModelArtifactVersion(update)
    update.version.etag = ""
    with refused("VERSION_LINKED"):
        swept.artifacts.UpdateModelArtifactVersion(update)


def test_logging_again_without_a_ttl_clears_the_expiry(swept: Stubs, project: str) -> None:
    chunks = random_chunks(1, 500)
    version = log(swept, project, chunks, ttl=Duration(seconds=2))
    assert log(swept, project, chunks).id == version.id
    time.sleep(2.5)
    assert resolve(swept, id=version.id).id == version.id
