"""A thousand calls about one name at once: numbers without a gap, and an alias on one version."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from modelyard.v1 import alias_pb2, event_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.parts.server import LiveServer, Stubs, new_project

MANY, THREADS = 1000, 32
PAGE = 1000


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def log(stubs: Stubs, project: str, number: int) -> pb.ModelArtifactVersion:
    """A version with one reference, which has no bytes to send."""
    entry = pb.ManifestEntry(path="w", reference_uri=f"s3://bucket/{number}", size_bytes=number)
    header = pb.VersionHeader(project=project, name="bert")
    request = pb.CommitEqualContentRequest(header=header, entries=[entry], request_id=f"{project}-{number}")
    version: pb.ModelArtifactVersion = stubs.artifacts.CommitEqualContent(request, timeout=120).version
    return version


@pytest.mark.slow
def test_a_thousand_commits_of_one_name_at_once_get_a_thousand_numbers(stubs: Stubs) -> None:
    project = new_project()
    with ThreadPoolExecutor(THREADS) as pool:
        versions = list(pool.map(lambda number: log(stubs, project, number), range(MANY)))
    assert sorted(version.number for version in versions) == list(range(MANY))
    listed = stubs.artifacts.ListModelArtifactVersions(
        pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert", page_size=PAGE)
    ).versions
    assert {version.id for version in listed} == {version.id for version in versions}
    assert [version.number for version in listed if "latest" in version.aliases] == [MANY - 1]


@pytest.mark.slow
def test_a_thousand_moves_of_one_alias_at_once_leave_it_on_one_version(stubs: Stubs) -> None:
    project = new_project()
    for number in range(2):
        log(stubs, project, number)

    def move(number: int) -> None:
        update = alias_pb2.AliasUpdate(alias="best", version=f"v{number % 2}")
        request = alias_pb2.UpdateAliasesRequest(ref=f"{project}/bert", updates=[update])
        stubs.aliases.UpdateAliases(request, timeout=120)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(move, range(MANY)))
    listed = stubs.artifacts.ListModelArtifactVersions(
        pb.ListModelArtifactVersionsRequest(ref=f"{project}/bert")
    ).versions
    (holder,) = (version for version in listed if "best" in version.aliases)
    assert last_of(stubs, project) == f"v{holder.number}"


def last_of(stubs: Stubs, project: str) -> str:
    """Where the events of the project leave the alias; they have no gap."""
    sequence, place = 0, ""

    while True:
        request = event_pb2.ListEventsRequest(project=project, after_sequence=sequence, page_size=PAGE)
        events = stubs.events.ListEvents(request).events
        for event in events:
            assert event.sequence == sequence + 1
            sequence = event.sequence
            if event.alias == "best" and event.type == event_pb2.EVENT_TYPE_ALIAS_ADDED:
                place = event.version
        if len(events) < PAGE:
            return place
