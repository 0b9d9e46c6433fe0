"""ListAliasChanges: one history for each alias, whatever moved it and however many did so at once."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import alias_pb2, model_artifact_pb2
from modelyard.v1 import registered_model_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project

MOVES = 1000
THREADS = 16


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def model(stubs: Stubs) -> str:
    """A registered model with three links, v0, v1 and v2."""
    project = new_project()
    for _ in range(3):
        version = fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 300)}).version
        request = pb.LinkModelArtifactVersionRequest(id=version.id, target_ref=f"{project}-r/Churn")
        stubs.registry.LinkModelArtifactVersion(request)
    return f"{project}-r/Churn"


def move(stubs: Stubs, ref: str, alias: str, version: str) -> dict[str, str]:
    update = (
        alias_pb2.AliasUpdate(alias=alias, version=version)
        if version
        else alias_pb2.AliasUpdate(alias=alias, remove=True)
    )
    reply = stubs.aliases.UpdateAliases(alias_pb2.UpdateAliasesRequest(ref=ref, updates=[update]))
    return {position.alias: position.version for position in reply.aliases}


def history(stubs: Stubs, ref: str, page_size: int = 1000, **fields: Any) -> list[alias_pb2.AliasChange]:
    """All changes, newest first, through as many pages as it takes."""
    found: list[alias_pb2.AliasChange] = []
    token = ""
    while True:
        request = alias_pb2.ListAliasChangesRequest(ref=ref, page_size=page_size, page_token=token, **fields)
        reply = stubs.aliases.ListAliasChanges(request)
        assert len(reply.changes) <= page_size
        found += reply.changes
        token = reply.next_page_token
        if not token:
            return found


def steps(changes: Sequence[alias_pb2.AliasChange]) -> list[tuple[str, str, str]]:
    return [(change.alias, change.previous_version, change.version) for change in changes]


def state(stubs: Stubs, ref: str, at: Timestamp, **fields: Any) -> dict[str, str]:
    return {change.alias: change.version for change in history(stubs, ref, at_time=at, **fields)}


def after(change: alias_pb2.AliasChange, microseconds: int = 0) -> Timestamp:
    at = Timestamp()
    at.FromMicroseconds(change.create_time.ToMicroseconds() + microseconds)
    return at


def test_the_history_has_both_versions_and_the_principal(stubs: Stubs, model: str) -> None:
    for version in ("v0", "v2", "v2", "", "v1"):
        move(stubs, model, "production", version)
    found = history(stubs, model, alias="production")
    assert steps(found) == [
        ("production", "", "v1"),
        ("production", "v2", ""),
        ("production", "v0", "v2"),
        ("production", "", "v0"),
    ]
    assert {change.principal for change in found} == {"local"}
    assert [change.sequence for change in found] == sorted((c.sequence for c in found), reverse=True)
    assert all(abs(change.create_time.ToSeconds() - time.time()) < 600 for change in found)


def test_the_history_of_an_artifact_can_be_requested_by_id(stubs: Stubs) -> None:
    project = new_project()
    made = [fast_upload.log(stubs, project, "bert", {"w": random_chunks(1, 300)}) for _ in range(2)]
    request = alias_pb2.ListAliasChangesRequest(id=made[0].version.model_artifact_id)
    found = stubs.aliases.ListAliasChanges(request).changes
    assert steps(found) == [("latest", "v0", "v1"), ("latest", "", "v0")]


def test_the_history_comes_in_pages_while_aliases_move(stubs: Stubs, model: str) -> None:
    for number in range(7):
        move(stubs, model, "staging", f"v{number % 3}")
    first = stubs.aliases.ListAliasChanges(alias_pb2.ListAliasChangesRequest(ref=model, page_size=4))
    move(stubs, model, "staging", "v2")
    request = alias_pb2.ListAliasChangesRequest(ref=model, page_size=4, page_token=first.next_page_token)
    second = stubs.aliases.ListAliasChanges(request)
    seen = [change.sequence for change in (*first.changes, *second.changes)]
    assert seen == [change.sequence for change in history(stubs, model)][1:9]
    assert steps(history(stubs, model, page_size=1)) == steps(history(stubs, model))


def test_which_version_was_production_at_a_time(stubs: Stubs, model: str) -> None:
    move(stubs, model, "production", "v0")
    move(stubs, model, "staging", "v1")
    move(stubs, model, "production", "v1")
    move(stubs, model, "staging", "")
    removed, to_v1, staged, to_v0 = (
        change for change in history(stubs, model) if change.alias in ("production", "staging")
    )
    assert state(stubs, model, after(to_v0)) == {"latest": "v2", "production": "v0"}
    assert state(stubs, model, after(staged)) == {"latest": "v2", "production": "v0", "staging": "v1"}
    assert state(stubs, model, after(to_v1, -1), alias="production") == {"production": "v0"}
    assert state(stubs, model, after(to_v1), alias="production") == {"production": "v1"}
    assert state(stubs, model, after(removed)) == {"latest": "v2", "production": "v1"}
    assert state(stubs, model, after(removed), alias="staging") == {}
    assert state(stubs, model, after(to_v0), page_size=1) == {"latest": "v2", "production": "v0"}
    assert state(stubs, model, Timestamp(seconds=1)) == {}


def test_deletes_and_unlinks_are_in_the_history(stubs: Stubs, model: str) -> None:
    move(stubs, model, "production", "v2")
    links = stubs.registry.ListRegisteredModelVersions(pb.ListRegisteredModelVersionsRequest(ref=model))
    newest, middle, oldest = links.versions
    request = pb.DeleteRegisteredModelVersionRequest(id=newest.id)
    with refused("VERSION_HAS_ALIASES"):
        stubs.registry.DeleteRegisteredModelVersion(request)
    request.force = True
    stubs.registry.DeleteRegisteredModelVersion(request)
    assert steps(history(stubs, model)[:2]) == [("production", "v2", ""), ("latest", "v2", "v1")]
    source = oldest.source
    stubs.artifacts.DeleteModelArtifactVersion(
        model_artifact_pb2.DeleteModelArtifactVersionRequest(id=middle.source.id, force=True)
    )
    assert steps(history(stubs, model)[:1]) == [("latest", "v1", "v0")]
    artifact = f"{source.project}/{source.name}"
    before = len(history(stubs, artifact))
    stubs.artifacts.DeleteModelArtifact(
        model_artifact_pb2.DeleteModelArtifactRequest(id=source.model_artifact_id, force=True)
    )
    assert steps(history(stubs, model)[:1]) == [("latest", "v0", "")]
    fast_upload.log(stubs, source.project, source.name, {"w": random_chunks(1, 300)})
    found = history(stubs, artifact)
    assert steps(found[:2]) == [("latest", "", "v3"), ("latest", "v2", "")]
    assert len(found) == before + 2


def test_a_thousand_moves_at_once_make_one_history_without_a_gap(stubs: Stubs, model: str) -> None:
    targets = ("v0", "v1", "v2", "")
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: move(stubs, model, "production", targets[number % 4]), range(MOVES)))
    found = history(stubs, model, alias="production")[::-1]
    # Concurrent threads sometimes set the same version twice in a row, which is no move.
    assert MOVES // 4 < len(found) <= MOVES
    assert found[0].previous_version == ""
    for before, change in itertools.pairwise(found):
        assert change.previous_version == before.version
        assert change.previous_version != change.version
    now = move(stubs, model, "other", "v0")
    assert now.get("production", "") == found[-1].version


ID = str(uuid.uuid4())
REFUSALS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "no selector": ({}, "INVALID_FIELD", ["id"]),
    "an empty ref": ({"ref": ""}, "INVALID_FIELD", ["ref"]),
    "no id": ({"id": "x"}, "INVALID_FIELD", ["id"]),
    "unknown id": ({"id": ID}, "NOT_FOUND", []),
    "unknown name": ({"ref": "nobody/knows/this"}, "NOT_FOUND", []),
    "a version": ({"ref": "Churn:v1"}, "INVALID_FIELD", ["ref"]),
    "a bad alias": ({"ref": "MODEL", "alias": "v1"}, "INVALID_FIELD", ["alias"]),
    "a bad time": ({"ref": "MODEL", "at_time": Timestamp(seconds=1 << 50)}, "INVALID_FIELD", ["at_time"]),
    "a negative page": ({"ref": "MODEL", "page_size": -1}, "INVALID_FIELD", ["page_size"]),
    "a forged token": ({"ref": "MODEL", "page_token": "x"}, "INVALID_PAGE_TOKEN", ["page_token"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_invalid_request_names_its_field(stubs: Stubs, model: str, case: str) -> None:
    fields, reason, named = REFUSALS[case]
    given = {key: model if value == "MODEL" else value for key, value in fields.items()}
    with refused(reason, *named):
        stubs.aliases.ListAliasChanges(alias_pb2.ListAliasChangesRequest(**given))


def test_a_page_token_belongs_to_its_query(stubs: Stubs, model: str) -> None:
    token = stubs.aliases.ListAliasChanges(alias_pb2.ListAliasChangesRequest(ref=model, page_size=1))
    assert token.next_page_token
    with refused("INVALID_PAGE_TOKEN", "page_token"):
        stubs.aliases.ListAliasChanges(
            alias_pb2.ListAliasChangesRequest(ref=model, alias="latest", page_token=token.next_page_token)
        )
