"""Artifacts and registered models in plain stubs, on both pairs of database and store."""

from __future__ import annotations

import uuid

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.v1 import alias_pb2, event_pb2, run_pb2, value_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


@pytest.fixture
def project() -> str:
    return new_project()


def log(stubs: Stubs, project: str, name: str = "bert") -> pb.ModelArtifactVersion:
    version: pb.ModelArtifactVersion = fast_upload.log(stubs, project, name, {"w": random_chunks(1)}).version
    return version


def link(
    stubs: Stubs, version: pb.ModelArtifactVersion, target: str, *aliases: str
) -> registry_pb.RegisteredModelVersion:
    request = registry_pb.LinkModelArtifactVersionRequest(id=version.id, target_ref=target, aliases=aliases)
    linked: registry_pb.RegisteredModelVersion = stubs.registry.LinkModelArtifactVersion(request).version
    return linked


def resolve(stubs: Stubs, ref: str) -> pb.GetModelArtifactVersionResponse:
    reply: pb.GetModelArtifactVersionResponse = stubs.artifacts.GetModelArtifactVersion(
        pb.GetModelArtifactVersionRequest(ref=ref)
    )
    return reply


def test_a_registered_model_says_where_its_aliases_are_and_when_it_was_linked(
    stubs: Stubs, project: str
) -> None:
    first, second = (log(stubs, project, name) for name in ("bert", "gpt"))
    made = link(stubs, first, f"{project}/Churn", "production")
    newest = link(stubs, second, f"{project}/Churn", "staging", *(f"a{n}" for n in range(98)))
    found = stubs.registry.GetRegisteredModel(
        registry_pb.GetRegisteredModelRequest(id=made.registered_model_id)
    ).registered_model
    (listed,) = stubs.registry.ListRegisteredModels(
        registry_pb.ListRegisteredModelsRequest(project=project)
    ).registered_models
    assert listed == found
    assert (found.last_link_time, found.last_linked_by) == (newest.create_time, newest.created_by)
    aliases = {each.alias: each.version for each in found.aliases}
    assert len(aliases) == 100  # of 101; `production`, the first one, is left out
    assert aliases.keys() >= {"latest", "staging"}
    assert "production" not in aliases
    assert set(aliases.values()) == {"v1"}
    assert list(aliases) == sorted(aliases)
    stubs.registry.DeleteRegisteredModelVersion(
        registry_pb.DeleteRegisteredModelVersionRequest(id=newest.id, force=True)
    )
    (listed,) = stubs.registry.ListRegisteredModels(
        registry_pb.ListRegisteredModelsRequest(project=project)
    ).registered_models
    assert [(each.alias, each.version) for each in listed.aliases] == [("latest", "v0"), ("production", "v0")]
    assert listed.last_link_time == made.create_time


def test_a_version_is_found_by_id_by_ref_and_through_a_link(stubs: Stubs, project: str) -> None:
    version = log(stubs, project)
    linked = link(stubs, version, f"{project}-registry/Churn model", "production")
    by_id = stubs.artifacts.GetModelArtifactVersion(pb.GetModelArtifactVersionRequest(id=version.id))
    by_ref, by_link = (
        resolve(stubs, f"{project}/bert:v0"),
        resolve(stubs, f"{project}-registry/Churn model:production"),
    )
    assert by_id.version == by_ref.version == by_link.version
    assert (by_ref.through_link, by_id.through_link) == ("", "")
    full = f"{version.entity}/{project}-registry/Churn model:v0"
    assert by_link.through_link == full
    assert by_id.version.linked_to == [pb.LinkedTo(id=linked.id, ref=full)]
    assert by_id.version.aliases == ["latest"]
    assert list(linked.aliases) == ["latest", "production"]
    assert linked.source_ref == f"{version.entity}/{project}/bert:v0"
    assert linked.source == by_id.version
    again = stubs.registry.GetRegisteredModelVersion(registry_pb.GetRegisteredModelVersionRequest(ref=full))
    assert again.version == linked


def test_an_artifact_is_made_changed_listed_and_deleted(stubs: Stubs, project: str) -> None:
    wanted = pb.ModelArtifact(project=project, name="corpus", type="dataset", tags=["nlp"])
    made = stubs.artifacts.CreateModelArtifact(
        pb.CreateModelArtifactRequest(model_artifact=wanted)
    ).model_artifact
    with refused("ALREADY_EXISTS"):
        stubs.artifacts.CreateModelArtifact(pb.CreateModelArtifactRequest(model_artifact=wanted))
    made.description, made.type = "text", "ignored"
    update = pb.UpdateModelArtifactRequest(model_artifact=made, update_mask=FieldMask(paths=["description"]))
    changed = stubs.artifacts.UpdateModelArtifact(update).model_artifact
    assert (changed.description, changed.type, changed.tags) == ("text", "dataset", ["nlp"])
    asked = pb.ListModelArtifactsRequest(project=project, filter='tags : "nlp" AND type = "dataset"')
    assert list(stubs.artifacts.ListModelArtifacts(asked).model_artifacts) == [changed]
    stubs.artifacts.DeleteModelArtifact(pb.DeleteModelArtifactRequest(id=made.id))
    with refused("NOT_FOUND"):
        stubs.artifacts.GetModelArtifact(pb.GetModelArtifactRequest(id=made.id))
    assert not stubs.artifacts.ListModelArtifacts(asked).model_artifacts


def test_metadata_keeps_its_kinds_and_refuses_infinity(stubs: Stubs, project: str) -> None:
    version = log(stubs, project)
    version.metadata["n"].int_value = (1 << 62) + 1
    version.metadata["nan"].double_value = float("nan")
    version.metadata["list"].list_value.values.add(string_value="ä")
    version.expire_time.CopyFrom(Timestamp(seconds=4_000_000_000))
    mask = FieldMask(paths=["metadata", "expire_time"])
    request = pb.UpdateModelArtifactVersionRequest(version=version, update_mask=mask)
    stored = stubs.artifacts.UpdateModelArtifactVersion(request).version
    assert stored.metadata["n"].int_value == (1 << 62) + 1
    assert stored.metadata["nan"].WhichOneof("kind") == "null_value"
    assert stored.metadata["list"].list_value.values[0].string_value == "ä"
    assert stored.expire_time.seconds == 4_000_000_000
    version.etag = stored.etag
    version.metadata["inf"].CopyFrom(value_pb2.AnyValue(double_value=float("inf")))
    with refused("INVALID_FIELD", "version.metadata.inf"):
        stubs.artifacts.UpdateModelArtifactVersion(request.__class__(version=version, update_mask=mask))


def test_one_key_of_the_metadata_is_set_or_removed_and_the_others_stay(stubs: Stubs, project: str) -> None:
    metadata = {"acc": value_pb2.AnyValue(double_value=0.5), "old": value_pb2.AnyValue(bool_value=True)}
    version = fast_upload.log(stubs, project, "bert", {"w": random_chunks(1)}, metadata=metadata).version
    given = pb.ModelArtifactVersion(id=version.id, metadata={"a.b": value_pb2.AnyValue(int_value=1)})
    for key, kept in (("a.b", {"acc", "old", "a.b"}), ("old", {"acc", "a.b"})):
        request = pb.UpdateModelArtifactVersionRequest(version=given, metadata_keys=[key])
        stored = stubs.artifacts.UpdateModelArtifactVersion(request).version
        assert set(stored.metadata) == kept
    assert (stored.metadata["acc"].double_value, stored.metadata["a.b"].int_value) == (0.5, 1)
    wrong = pb.UpdateModelArtifactVersionRequest(version=given, update_mask=FieldMask(paths=["metadata.acc"]))
    with refused("INVALID_MASK", "update_mask"):
        stubs.artifacts.UpdateModelArtifactVersion(wrong)
    both = pb.UpdateModelArtifactVersionRequest(
        version=given, update_mask=FieldMask(paths=["metadata"]), metadata_keys=["acc"]
    )
    with refused("INVALID_FIELD", "metadata_keys"):
        stubs.artifacts.UpdateModelArtifactVersion(both)


def test_files_come_in_pages_with_their_chunks(stubs: Stubs, project: str) -> None:
    contents = {name: random_chunks(count) for name, count in (("b/2", 3), ("b/10", 1), ("ä", 2), ("a", 0))}
    version = fast_upload.log(stubs, project, "bert", contents).version
    seen: list[pb.ManifestEntry] = []
    token = ""
    while True:
        request = pb.ListModelArtifactFilesRequest(
            id=version.id, include_chunks=True, page_size=1, page_token=token
        )
        reply = stubs.artifacts.ListModelArtifactFiles(request)
        seen += reply.entries
        token = reply.next_page_token
        if not token:
            break
    assert [entry.path for entry in seen] == ["a", "b/10", "b/2", "ä"]
    assert [sum(chunk.size_bytes for chunk in entry.chunks) for entry in seen] == [
        entry.size_bytes for entry in seen
    ]
    assert [len(entry.chunks) for entry in seen] == [0, 1, 3, 2]
    some = stubs.artifacts.ListModelArtifactFiles(
        pb.ListModelArtifactFilesRequest(id=version.id, path_prefix="b/")
    )
    assert [(entry.path, len(entry.chunks)) for entry in some.entries] == [("b/10", 0), ("b/2", 0)]
    by_ref = stubs.artifacts.ListModelArtifactFiles(
        pb.ListModelArtifactFilesRequest(ref=f"{project}/bert:v0", path_prefix="b/")
    )
    assert by_ref == some
    assert by_ref.version_id == version.id


def test_lineage_has_the_runs_and_versions_of_both_sides(stubs: Stubs, project: str) -> None:
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project, name="r1"))).run
    version = log(stubs, project)
    request = pb.UseModelArtifactVersionRequest(run_id=run.id, ref=f"{project}/bert", use_as="base")
    assert stubs.artifacts.UseModelArtifactVersion(request).version.id == version.id
    stubs.artifacts.UseModelArtifactVersion(request)
    graph = stubs.artifacts.GetLineage(pb.GetLineageRequest(ref=f"{project}/bert:v0", depth=1))
    assert [(e.run_id, e.version_id, e.use_as) for e in graph.edges] == [(run.id, version.id, "base")]
    assert graph.edges[0].relation == pb.LINEAGE_RELATION_INPUT
    assert graph.runs[0].ref.endswith(f"/{project}/r1")
    assert graph.runs[0].state == run_pb2.RUN_STATE_RUNNING


def test_promotion_is_one_move_that_watchers_see(stubs: Stubs, project: str) -> None:
    registry = f"wandb-registry-{project}"
    first, second = log(stubs, project), log(stubs, project)
    link(stubs, first, f"{registry}/Churn", "production")
    link(stubs, second, f"{registry}/Churn", "staging")
    update = alias_pb2.AliasUpdate
    request = alias_pb2.UpdateAliasesRequest(
        ref=f"{registry}/Churn",
        updates=[
            update(alias="production", version="v1", expected_version="v0"),
            update(alias="staging", remove=True, expected_version="v1"),
        ],
        request_id=str(uuid.uuid4()),
    )
    reply = stubs.aliases.UpdateAliases(request)
    assert [(p.alias, p.version) for p in reply.aliases] == [("latest", "v1"), ("production", "v1")]
    assert stubs.aliases.UpdateAliases(request) == reply
    request.request_id = ""
    with refused("ALIAS_CHANGED") as refusal:
        stubs.aliases.UpdateAliases(request)
    assert (refusal.metadata["alias"], refusal.metadata["version"]) == ("production", "v1")
    events = stubs.events.ListEvents(event_pb2.ListEventsRequest(project=registry)).events
    told = [(e.type, e.alias, e.version, e.previous_version) for e in events][-2:]
    assert told == [
        (event_pb2.EVENT_TYPE_ALIAS_ADDED, "production", "v1", "v0"),
        (event_pb2.EVENT_TYPE_ALIAS_REMOVED, "staging", "v1", ""),
    ]


def test_a_version_is_linked_into_a_registered_model_by_its_id(stubs: Stubs, project: str) -> None:
    first, second = log(stubs, project), log(stubs, project)
    linked = link(stubs, first, f"{project}-r/Net 1")
    request = registry_pb.LinkModelArtifactVersionRequest(
        id=second.id, target_id=linked.registered_model_id, aliases=["best"]
    )
    reply = stubs.registry.LinkModelArtifactVersion(request)
    assert (reply.created, reply.version.number, reply.version.name) == (True, 1, "Net 1")
    assert reply.version.registered_model_id == linked.registered_model_id
    for missing in (str(uuid.uuid4()), artifact_id(stubs, project)):
        with refused("NOT_FOUND"):
            stubs.registry.LinkModelArtifactVersion(
                registry_pb.LinkModelArtifactVersionRequest(id=second.id, target_id=missing)
            )


def artifact_id(stubs: Stubs, project: str) -> str:
    found = stubs.artifacts.GetModelArtifact(pb.GetModelArtifactRequest(ref=f"{project}/bert"))
    return str(found.model_artifact.id)


def test_registered_models_are_listed_renamed_and_deleted(stubs: Stubs, project: str) -> None:
    registry = f"wandb-registry-{project}"
    version = log(stubs, project)
    linked = link(stubs, version, f"{registry}/Churn")
    link(stubs, version, f"{registry}/Other")
    asked = registry_pb.ListRegisteredModelsRequest(project=registry, order_by="name desc")
    models = stubs.registry.ListRegisteredModels(asked).registered_models
    assert [(m.name, m.version_count) for m in models] == [("Other", 1), ("Churn", 1)]
    models[1].name = "Other"
    rename = registry_pb.UpdateRegisteredModelRequest(
        registered_model=models[1], update_mask=FieldMask(paths=["name"])
    )
    with refused("ALREADY_EXISTS"):
        stubs.registry.UpdateRegisteredModel(rename)
    rename.registered_model.name = "Churn 2"
    assert stubs.registry.UpdateRegisteredModel(rename).registered_model.name == "Churn 2"
    links = registry_pb.ListRegisteredModelVersionsRequest(
        ref=f"{registry}/Churn 2", filter='aliases : "latest"'
    )
    assert [row.id for row in stubs.registry.ListRegisteredModelVersions(links).versions] == [linked.id]
    with refused("VERSION_LINKED") as refusal:
        stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=version.id))
    assert f"{registry}/Churn 2:v0" in refusal.message
    stubs.registry.DeleteRegisteredModelVersion(registry_pb.DeleteRegisteredModelVersionRequest(id=linked.id))
    stubs.registry.DeleteRegisteredModel(registry_pb.DeleteRegisteredModelRequest(id=models[0].id))
    with refused("VERSION_HAS_ALIASES"):
        stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=version.id))
    stubs.artifacts.DeleteModelArtifactVersion(
        pb.DeleteModelArtifactVersionRequest(id=version.id, force=True)
    )
    with refused("NOT_FOUND") as refusal:
        resolve(stubs, f"{project}/bert")
    assert refusal.metadata["ref"] == f"{version.entity}/{project}/bert:latest"


ID = str(uuid.uuid4())
REFUSALS = [
    ("artifacts.GetModelArtifactVersion", pb.GetModelArtifactVersionRequest(), "INVALID_FIELD", ["id"]),
    (
        "artifacts.GetModelArtifactVersion",
        pb.GetModelArtifactVersionRequest(ref=""),
        "INVALID_FIELD",
        ["ref"],
    ),
    (
        "artifacts.ListModelArtifactVersions",
        pb.ListModelArtifactVersionsRequest(ref="a", project="p"),
        "INVALID_FIELD",
        ["project"],
    ),
    (
        "artifacts.GetModelArtifactVersion",
        pb.GetModelArtifactVersionRequest(id="x"),
        "INVALID_FIELD",
        ["id"],
    ),
    (
        "artifacts.ListModelArtifactFiles",
        pb.ListModelArtifactFilesRequest(id="x"),
        "INVALID_FIELD",
        ["id"],
    ),
    (
        "artifacts.UpdateModelArtifactVersion",
        pb.UpdateModelArtifactVersionRequest(update_mask=FieldMask(paths=["description"])),
        "INVALID_FIELD",
        ["version.id"],
    ),
    ("artifacts.GetLineage", pb.GetLineageRequest(), "INVALID_FIELD", ["id"]),
    ("events.ListEvents", event_pb2.ListEventsRequest(), "INVALID_FIELD", ["project"]),
    (
        "artifacts.GetLineage",
        pb.GetLineageRequest(id=ID, direction=99),  # type: ignore[arg-type]
        "INVALID_FIELD",
        ["direction"],
    ),
    ("artifacts.GetModelArtifactVersion", pb.GetModelArtifactVersionRequest(id=ID), "NOT_FOUND", []),
    (
        "artifacts.GetModelArtifactVersion",
        pb.GetModelArtifactVersionRequest(ref="a\u202eb"),
        "INVALID_FIELD",
        ["ref"],
    ),
    (
        "artifacts.ListModelArtifactVersions",
        pb.ListModelArtifactVersionsRequest(ref="a:v1"),
        "INVALID_FIELD",
        ["ref"],
    ),
    (
        "artifacts.ListModelArtifacts",
        pb.ListModelArtifactsRequest(page_size=-1),
        "INVALID_FIELD",
        ["page_size"],
    ),
    (
        "artifacts.ListModelArtifacts",
        pb.ListModelArtifactsRequest(page_token="x"),
        "INVALID_PAGE_TOKEN",
        ["page_token"],
    ),
    (
        "artifacts.ListModelArtifacts",
        pb.ListModelArtifactsRequest(filter="name ="),
        "INVALID_FILTER",
        ["filter"],
    ),
    (
        "artifacts.ListModelArtifacts",
        pb.ListModelArtifactsRequest(order_by="size"),
        "INVALID_FIELD",
        ["order_by"],
    ),
    ("artifacts.UpdateModelArtifact", pb.UpdateModelArtifactRequest(), "INVALID_MASK", ["update_mask"]),
    (
        "artifacts.UpdateModelArtifact",
        pb.UpdateModelArtifactRequest(update_mask=FieldMask(paths=["name"])),
        "INVALID_MASK",
        ["update_mask"],
    ),
    (
        "artifacts.CreateModelArtifact",
        pb.CreateModelArtifactRequest(model_artifact=pb.ModelArtifact(name="a/b", type="model")),
        "INVALID_FIELD",
        ["model_artifact.name"],
    ),
    (
        "artifacts.CreateModelArtifact",
        pb.CreateModelArtifactRequest(model_artifact=pb.ModelArtifact(name="a")),
        "INVALID_FIELD",
        ["model_artifact.type"],
    ),
    ("artifacts.DeleteModelArtifact", pb.DeleteModelArtifactRequest(id="x"), "INVALID_FIELD", ["id"]),
    ("artifacts.GetLineage", pb.GetLineageRequest(run_id=ID, depth=33), "INVALID_FIELD", ["depth"]),
    ("artifacts.GetLineage", pb.GetLineageRequest(run_id=ID), "NOT_FOUND", []),
    (
        "registry.CreateRegisteredModel",
        registry_pb.CreateRegisteredModelRequest(registered_model=registry_pb.RegisteredModel(name=" x")),
        "INVALID_FIELD",
        ["registered_model.name"],
    ),
    (
        "registry.LinkModelArtifactVersion",
        registry_pb.LinkModelArtifactVersionRequest(id=ID),
        "INVALID_FIELD",
        ["target_ref"],
    ),
    (
        "registry.LinkModelArtifactVersion",
        registry_pb.LinkModelArtifactVersionRequest(id=ID, target_id=""),
        "INVALID_FIELD",
        ["target_id"],
    ),
    (
        "aliases.UpdateAliases",
        alias_pb2.UpdateAliasesRequest(ref="nope", updates=[alias_pb2.AliasUpdate(alias="a", remove=True)]),
        "NOT_FOUND",
        [],
    ),
    *(
        (
            "aliases.UpdateAliases",
            alias_pb2.UpdateAliasesRequest(ref="nope", updates=[update]),
            "INVALID_FIELD",
            [f"updates[0].{field}"],
        )
        for update, field in (
            (alias_pb2.AliasUpdate(alias="a"), "change"),
            (alias_pb2.AliasUpdate(alias="a", version=""), "version"),
            (alias_pb2.AliasUpdate(alias="a", remove=False), "remove"),
        )
    ),
]


@pytest.mark.parametrize(("method", "request_", "reason", "fields"), REFUSALS)
def test_bad_requests_name_their_field(
    stubs: Stubs, method: str, request_: object, reason: str, fields: list[str]
) -> None:
    # The entity exists, so that what is refused is the request alone.
    log(stubs, new_project())
    service, name = method.split(".")
    with refused(reason, *fields):
        getattr(getattr(stubs, service), name)(request_)
