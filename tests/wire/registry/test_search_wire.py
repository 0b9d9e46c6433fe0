"""Searching, counting and getting many at once, over the wire on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from modelyard.v1 import run_pb2
from modelyard_server.rpc.wire.convert import python_to_values
from tests.clients.refusals import refused
from tests.parts.server import Factory, LiveServer, Stubs, new_project

Version = pb.ModelArtifactVersion


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def log(stubs: Stubs, name: str, content: str, **header: Any) -> Version:
    """A version of one small file."""
    if "metadata" in header:
        header["metadata"] = python_to_values(header["metadata"])
    messages = [
        pb.UploadModelArtifactRequest(header=pb.VersionHeader(name=name, **header)),
        pb.UploadModelArtifactRequest(path="model"),
        pb.UploadModelArtifactRequest(data=content.encode()),
    ]
    made: Version = stubs.artifacts.UploadModelArtifact(iter(messages)).version
    return made


def link(stubs: Stubs, version: Version, target: str, *aliases: str) -> registry_pb.RegisteredModelVersion:
    made: registry_pb.RegisteredModelVersion = stubs.registry.LinkModelArtifactVersion(
        registry_pb.LinkModelArtifactVersionRequest(id=version.id, target_ref=target, aliases=aliases)
    ).version
    return made


def search(stubs: Stubs, **asked: Any) -> list[str]:
    reply = stubs.artifacts.ListModelArtifactVersions(pb.ListModelArtifactVersionsRequest(**asked))
    return [f"{version.project}/{version.name}:v{version.number}" for version in reply.versions]


def search_links(stubs: Stubs, **asked: Any) -> list[str]:
    reply = stubs.registry.ListRegisteredModelVersions(
        registry_pb.ListRegisteredModelVersionsRequest(**asked)
    )
    return [f"{version.name}:v{version.number}" for version in reply.versions]


def test_versions_are_searched_across_a_project_and_an_entity(stubs: Stubs) -> None:
    entity = new_project()
    run = stubs.runs.CreateRun(
        run_pb2.CreateRunRequest(
            run=run_pb2.Run(entity=entity, project="a", name="r1", config=python_to_values({"lr": 0.1}))
        )
    ).run
    summary = python_to_values({"acc": 0.98})
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=run.id, summary=summary))
    log(stubs, "bert", "1", entity=entity, project="a", metadata={"acc": 0.7}, tags=["x"], run_id=run.id)
    log(stubs, "bert", "2", entity=entity, project="a", metadata={"acc": 0.95}, aliases=["best"])
    log(stubs, "t5", "1", entity=entity, project="b", metadata={"loss": 1, "many": {"deep": "yes"}})
    every = ["b/t5:v0", "a/bert:v1", "a/bert:v0"]
    assert search(stubs, entity=entity) == every
    assert search(stubs, entity=entity, project="b") == ["b/t5:v0"]
    for filter_, found in {
        "metadata.acc > 0.9": ["a/bert:v1"],
        'tags : "x"': ["a/bert:v0"],
        'aliases : "best"': ["a/bert:v1"],
        'name = "t5"': ["b/t5:v0"],
        'project = "a" AND type = "model"': ["a/bert:v1", "a/bert:v0"],
        "run.summary.acc >= 0.97": ["a/bert:v0"],
        'run.config.lr = 0.1 OR metadata.many.deep = "yes"': ["b/t5:v0", "a/bert:v0"],
        'run.name = "r1"': ["a/bert:v0"],
        "NOT run.summary.acc : *": ["b/t5:v0", "a/bert:v1"],
    }.items():
        assert search(stubs, entity=entity, filter=filter_) == found, filter_
    assert search(stubs, entity=entity, order_by="metadata.acc desc") == ["a/bert:v1", "a/bert:v0", "b/t5:v0"]
    assert search(stubs, entity=entity, order_by="name desc, number") == ["b/t5:v0", "a/bert:v0", "a/bert:v1"]


def test_links_are_searched_by_their_source(stubs: Stubs) -> None:
    entity = new_project()
    good = log(stubs, "bert", "1", entity=entity, project="a", metadata={"acc": 0.95}, tags=["x"])
    other = log(stubs, "bert", "2", entity=entity, project="a", metadata={"acc": 0.5})
    link(stubs, good, f"{entity}/model-registry/Churn", "production")
    link(stubs, other, f"{entity}/model-registry/Churn")
    link(stubs, other, f"{entity}/wandb-registry-vision/Eyes")
    assert search_links(stubs, entity=entity) == ["Eyes:v0", "Churn:v1", "Churn:v0"]
    assert search_links(stubs, entity=entity, project="wandb-registry-vision") == ["Eyes:v0"]
    assert search_links(stubs, ref=f"{entity}/model-registry/Churn") == ["Churn:v1", "Churn:v0"]
    for filter_, found in {
        "source.metadata.acc > 0.9": ["Churn:v0"],
        'source.tags : "x"': ["Churn:v0"],
        'source.type = "model" AND NOT source.tags : "x"': ["Eyes:v0", "Churn:v1"],
        'aliases : "production"': ["Churn:v0"],
        'name = "Eyes"': ["Eyes:v0"],
        'project = "model-registry" AND number = 1': ["Churn:v1"],
    }.items():
        assert search_links(stubs, entity=entity, filter=filter_) == found, filter_
    assert search_links(stubs, entity=entity, order_by="name desc") == ["Eyes:v0", "Churn:v1", "Churn:v0"]


def test_a_search_goes_on_while_versions_come_and_go(stubs: Stubs) -> None:
    project = new_project()
    made = [log(stubs, "m", str(n), project=project, metadata={"acc": n}) for n in range(6)]
    asked = {"project": project, "order_by": "metadata.acc desc", "page_size": 2}
    first = stubs.artifacts.ListModelArtifactVersions(pb.ListModelArtifactVersionsRequest(**asked))
    log(stubs, "m", "new", project=project, metadata={"acc": 100})
    log(stubs, "m", "none", project=project)
    stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=made[2].id))
    seen, token = [version.number for version in first.versions], first.next_page_token
    while token:
        reply = stubs.artifacts.ListModelArtifactVersions(
            pb.ListModelArtifactVersionsRequest(page_token=token, **asked)
        )
        seen, token = seen + [version.number for version in reply.versions], reply.next_page_token
    assert seen == [5, 4, 3, 1, 0, 7]


@pytest.mark.parametrize(
    ("asked", "reason", "field", "position"),
    [
        ({"filter": "nope = 1"}, "INVALID_FILTER", "filter", 1),
        ({"filter": "run.nope = 1"}, "INVALID_FILTER", "filter", 5),
        ({"filter": "run = 1"}, "INVALID_FILTER", "filter", 4),
        ({"filter": "run.config = 1"}, "INVALID_FILTER", "filter", 11),
        ({"filter": 'run.name.x = "a"'}, "INVALID_FILTER", "filter", 9),
        ({"filter": "metadata = 1"}, "INVALID_FILTER", "filter", 9),
        ({"filter": "metadata.acc >= "}, "INVALID_FILTER", "filter", 17),
        ({"filter": "metadata.acc > 0.9 AND tags = 'x'"}, "INVALID_FILTER", "filter", 29),
        ({"filter": "metadata.acc > 99999999999999999999"}, "INVALID_FILTER", "filter", 16),
        ({"filter": "number : 3"}, "INVALID_FILTER", "filter", 8),
        ({"filter": "name = bert"}, "INVALID_FILTER", "filter", 8),
        ({"filter": 'name = "bert'}, "INVALID_FILTER", "filter", 8),
        ({"filter": "number = 1 OR OR number = 2"}, "INVALID_FILTER", "filter", 15),
        ({"filter": 'digest = "00"'}, "INVALID_FILTER", "filter", 10),
        ({"filter": "create_time > 3"}, "INVALID_FILTER", "filter", 15),
        ({"filter": "x" * 5000}, "INVALID_FILTER", "filter", None),
        ({"order_by": "digest"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "number up"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "number,,size"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "metadata"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "number.x"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "metadata.acc, number"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "run.summary.acc"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": f"metadata.{'k' * 300}"}, "INVALID_FIELD", "order_by", None),
        ({"order_by": "number; DROP TABLE run"}, "INVALID_FIELD", "order_by", None),
        ({"page_size": -1}, "INVALID_FIELD", "page_size", None),
        ({"page_token": "x"}, "INVALID_PAGE_TOKEN", "page_token", None),
        ({"page_token": "WzEsImEiLFswLCIiXV0"}, "INVALID_PAGE_TOKEN", "page_token", None),
        ({"id": "x"}, "INVALID_FIELD", "project", None),
        ({"ref": "a/b/c:v1", "project": ""}, "INVALID_FIELD", "ref", None),
        ({"project": "never-made"}, "NOT_FOUND", "", None),
        ({"project": "", "entity": "never-made"}, "NOT_FOUND", "", None),
    ],
)
def test_a_bad_search_names_its_field(
    stubs: Stubs, asked: dict[str, Any], reason: str, field: str, position: int | None
) -> None:
    project = new_project()
    log(stubs, "m", "1", project=project)
    with refused(reason, *([field] if field else [])) as refusal:
        search(stubs, **{"project": project, **asked})
    if position is not None:
        assert refusal.metadata["position"] == str(position)


def test_a_page_token_belongs_to_its_query(stubs: Stubs) -> None:
    project = new_project()
    for number in range(3):
        log(stubs, "m", str(number), project=project, metadata={"acc": number})
    for order_by in ("", "metadata.acc", "size_bytes"):
        asked = {"project": project, "page_size": 1, "order_by": order_by}
        reply = stubs.artifacts.ListModelArtifactVersions(pb.ListModelArtifactVersionsRequest(**asked))
        for changed in (
            {"filter": "number >= 0"},
            {"order_by": "number desc"},
            {"project": "", "ref": f"{project}/m"},
        ):
            with refused("INVALID_PAGE_TOKEN", "page_token"):
                search(stubs, page_token=reply.next_page_token, **{**asked, **changed})


def test_a_caller_without_an_existing_entity_gets_empty_lists(live_server_factory: Factory) -> None:
    server = live_server_factory("--no-auth").start()
    stubs = server.stubs()
    assert search(stubs) == []
    assert search_links(stubs) == []
    assert list(stubs.runs.ListRuns(run_pb2.ListRunsRequest()).runs) == []
    assert list(stubs.artifacts.ListModelArtifacts(pb.ListModelArtifactsRequest()).model_artifacts) == []
    assert list(stubs.registry.ListRegistries(registry_pb.ListRegistriesRequest()).registries) == []
    with refused("NOT_FOUND"):
        search(stubs, entity="somebody-else")
    with refused("INVALID_FILTER", "filter"):
        search(stubs, filter="nope = 1")


def test_types_and_registries_are_counted(stubs: Stubs) -> None:
    entity = new_project()
    model = log(stubs, "bert", "1", entity=entity, project="a")
    log(stubs, "t5", "1", entity=entity, project="b")
    log(stubs, "words", "1", entity=entity, project="b", type="dataset")

    def types(**asked: str) -> dict[str, int]:
        reply = stubs.artifacts.ListModelArtifactTypes(pb.ListModelArtifactTypesRequest(**asked))
        return {each.name: each.artifact_count for each in reply.types}

    def registries() -> list[tuple[str, str, int]]:
        reply = stubs.registry.ListRegistries(registry_pb.ListRegistriesRequest(entity=entity))
        return [(each.entity, each.name, each.registered_model_count) for each in reply.registries]

    assert types(entity=entity) == {"dataset": 1, "model": 2}
    assert types(entity=entity, project="a") == {"model": 1}
    assert registries() == []
    made = link(stubs, model, f"{entity}/model-registry/Churn")
    link(stubs, model, f"{entity}/a/Loose")
    assert registries() == [(entity, "a", 1), (entity, "model-registry", 1)]
    request = registry_pb.DeleteRegisteredModelRequest(id=made.registered_model_id)
    stubs.registry.DeleteRegisteredModel(request)
    assert registries() == [(entity, "a", 1), (entity, "model-registry", 0)]


def test_types_and_registries_come_in_pages(stubs: Stubs) -> None:
    entity = new_project()
    for number in range(5):
        log(stubs, f"a{number}", "1", entity=entity, project="p", type=f"type{number}")
        model = registry_pb.RegisteredModel(entity=entity, project=f"r{number}", name="m")
        stubs.registry.CreateRegisteredModel(registry_pb.CreateRegisteredModelRequest(registered_model=model))
    types, request = [], pb.ListModelArtifactTypesRequest(entity=entity, page_size=2)
    while page := stubs.artifacts.ListModelArtifactTypes(request):
        assert len(page.types) <= 2
        types += [each.name for each in page.types]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert types == [f"type{number}" for number in range(5)]
    registries, listing = [], registry_pb.ListRegistriesRequest(entity=entity, page_size=3)
    while reply := stubs.registry.ListRegistries(listing):
        assert len(reply.registries) <= 3
        registries += [each.name for each in reply.registries]
        if not reply.next_page_token:
            break
        listing.page_token = reply.next_page_token
    assert registries == [f"r{number}" for number in range(5)]
    listing.entity = "local"
    with refused("INVALID_PAGE_TOKEN", "page_token"):
        stubs.registry.ListRegistries(listing)


def test_a_page_larger_than_the_limit_is_the_largest_there_is(stubs: Stubs) -> None:
    project = new_project()
    log(stubs, "m", "1", project=project)
    assert len(search(stubs, project=project, page_size=2_000_000_000)) == 1


def test_a_batch_of_versions_comes_in_the_requested_order(stubs: Stubs) -> None:
    project = new_project()
    first = log(stubs, "bert", "1", project=project)
    second = log(stubs, "bert", "2", project=project, aliases=["best"])
    gone = log(stubs, "t5", "1", project=project)
    stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=gone.id, force=True))
    made = link(stubs, first, f"{project}/Churn", "production")
    path = f"local/{project}/Churn:v{made.number}"
    asked = [
        ("ref", f"{project}/bert", second.id, ""),
        ("id", first.id, first.id, ""),
        ("ref", f"{project}/Churn:production", first.id, path),
        ("ref", f"local/{project}/Churn:v0", first.id, path),
        ("ref", f"{project}/bert:v0", first.id, ""),
        ("ref", f"{project}/bert:best", second.id, ""),
        ("ref", f"{project}/bert:v7", "", ""),
        ("ref", f"{project}/nobody", "", ""),
        ("ref", "nowhere/at/all", "", ""),
        ("id", gone.id, "", ""),
        ("ref", f"{project}/t5:v0", "", ""),
        ("ref", f"{project}/bert", second.id, ""),
    ]
    requests = [pb.GetModelArtifactVersionRequest(**{field: text}) for field, text, _, _ in asked]
    reply = stubs.artifacts.BatchGetModelArtifactVersions(
        pb.BatchGetModelArtifactVersionsRequest(requests=requests)
    )
    assert [(one.version.id, one.through_link) for one in reply.results] == [each[2:] for each in asked]
    alone = stubs.artifacts.GetModelArtifactVersion(requests[2])
    assert reply.results[2].version == alone.version


def test_a_batch_has_at_most_a_thousand_versions(stubs: Stubs) -> None:
    project = new_project()
    version = log(stubs, "bert", "1", project=project)
    request = pb.GetModelArtifactVersionRequest(ref=f"{project}/bert:v0")
    many = pb.BatchGetModelArtifactVersionsRequest(requests=[request] * 1000)
    reply = stubs.artifacts.BatchGetModelArtifactVersions(many)
    assert {one.version.id for one in reply.results} == {version.id}
    many.requests.append(request)
    with refused("INVALID_FIELD", "requests"):
        stubs.artifacts.BatchGetModelArtifactVersions(many)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"ref": "a/b/c/d"}, "requests[1].ref"),
        ({"id": "no-id"}, "requests[1].id"),
        ({}, "requests[1]"),
    ],
)
def test_an_invalid_entry_of_a_batch_is_named(stubs: Stubs, request_: dict[str, str], field: str) -> None:
    requests = [pb.GetModelArtifactVersionRequest(ref="a"), pb.GetModelArtifactVersionRequest(**request_)]
    with refused("INVALID_FIELD", field):
        stubs.artifacts.BatchGetModelArtifactVersions(
            pb.BatchGetModelArtifactVersionsRequest(requests=requests)
        )


def test_a_page_of_large_versions_stays_below_the_limit_of_a_message(stubs: Stubs) -> None:
    project = new_project()
    for number in range(5):
        log(stubs, "big", str(number), project=project, metadata={"text": "x" * (900 << 10)})
    seen, token = [], ""
    while True:
        reply = stubs.artifacts.ListModelArtifactVersions(
            pb.ListModelArtifactVersionsRequest(project=project, page_token=token)
        )
        seen, token = seen + [version.number for version in reply.versions], reply.next_page_token
        if not token:
            break
    assert seen == [4, 3, 2, 1, 0]
    requests = [pb.GetModelArtifactVersionRequest(ref=f"{project}/big:v{number}") for number in range(5)]
    with refused("INVALID_FIELD", "requests"):
        stubs.artifacts.BatchGetModelArtifactVersions(
            pb.BatchGetModelArtifactVersionsRequest(requests=requests)
        )
