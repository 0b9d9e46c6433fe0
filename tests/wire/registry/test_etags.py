"""Etags: an update that is based on an older state is refused, for every thing that can be updated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.v1 import alias_pb2, metric_pb2, run_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.parts.server import LiveServer, Stubs, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make_artifact(stubs: Stubs) -> Any:
    made = pb.ModelArtifact(project=new_project(), name="bert", type="model")
    return stubs.artifacts.CreateModelArtifact(
        pb.CreateModelArtifactRequest(model_artifact=made)
    ).model_artifact


def make_model(stubs: Stubs) -> Any:
    made = registry_pb.RegisteredModel(project=new_project(), name="Churn")
    request = registry_pb.CreateRegisteredModelRequest(registered_model=made)
    return stubs.registry.CreateRegisteredModel(request).registered_model


def make_version(stubs: Stubs) -> Any:
    return fast_upload.log(stubs, new_project(), "bert", {"w": fast_upload.random_chunks(1, 500)}).version


def make_run(stubs: Stubs) -> Any:
    return stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project()))).run


def update_artifact(stubs: Stubs, thing: Any, *paths: str, **more: Any) -> Any:
    request = pb.UpdateModelArtifactRequest(model_artifact=thing, update_mask=FieldMask(paths=paths), **more)
    return stubs.artifacts.UpdateModelArtifact(request).model_artifact


def update_model(stubs: Stubs, thing: Any, *paths: str, **more: Any) -> Any:
    mask = FieldMask(paths=paths)
    request = registry_pb.UpdateRegisteredModelRequest(registered_model=thing, update_mask=mask, **more)
    return stubs.registry.UpdateRegisteredModel(request).registered_model


def update_version(stubs: Stubs, thing: Any, *paths: str, **more: Any) -> Any:
    request = pb.UpdateModelArtifactVersionRequest(version=thing, update_mask=FieldMask(paths=paths), **more)
    return stubs.artifacts.UpdateModelArtifactVersion(request).version


def update_run(stubs: Stubs, thing: Any, *paths: str, **more: Any) -> Any:
    request = run_pb2.UpdateRunRequest(run=thing, update_mask=FieldMask(paths=paths), **more)
    return stubs.runs.UpdateRun(request).run


THINGS: dict[str, tuple[Callable[[Stubs], Any], Callable[..., Any], str]] = {
    "artifact": (make_artifact, update_artifact, "model_artifact.etag"),
    "registered model": (make_model, update_model, "registered_model.etag"),
    "version": (make_version, update_version, "version.etag"),
    "run": (make_run, update_run, "run.etag"),
}


@pytest.mark.parametrize("kind", THINGS)
def test_the_second_of_two_writers_gets_etag_mismatch(stubs: Stubs, kind: str) -> None:
    make, update, field = THINGS[kind]
    first = make(stubs)
    second = type(first)()
    second.CopyFrom(first)
    first.tags.append("one")
    changed = update(stubs, first, "tags")
    assert changed.etag not in ("", second.etag)
    second.tags.append("other")
    with refused("ETAG_MISMATCH", field) as refusal:
        update(stubs, second, "tags")
    assert refusal.metadata["etag"] == changed.etag
    second.etag = changed.etag
    assert list(update(stubs, second, "tags").tags) == ["other"]


@pytest.mark.parametrize("kind", THINGS)
def test_without_an_etag_the_last_writer_wins(stubs: Stubs, kind: str) -> None:
    make, update, _ = THINGS[kind]
    thing = make(stubs)
    thing.etag = ""
    for tag in ("one", "other"):
        del thing.tags[:]
        thing.tags.append(tag)
        assert list(update(stubs, thing, "tags").tags) == [tag]


@pytest.mark.parametrize("kind", THINGS)
def test_an_update_that_is_repeated_after_a_lost_reply_gets_that_reply(stubs: Stubs, kind: str) -> None:
    make, update, _ = THINGS[kind]
    thing = make(stubs)
    thing.tags.append("one")
    reply = update(stubs, thing, "tags", request_id="again")
    assert update(stubs, thing, "tags", request_id="again") == reply


def test_what_updates_do_not_change_keeps_the_etag(stubs: Stubs) -> None:
    version = make_version(stubs)
    project = version.project
    alias = alias_pb2.AliasUpdate(alias="best", version="v0")
    stubs.aliases.UpdateAliases(alias_pb2.UpdateAliasesRequest(ref=f"{project}/bert", updates=[alias]))
    artifact = stubs.artifacts.GetModelArtifact(
        pb.GetModelArtifactRequest(ref=f"{project}/bert")
    ).model_artifact
    fast_upload.log(stubs, project, "bert", {"w": fast_upload.random_chunks(1, 600)})
    assert update_version(stubs, version, "description").etag == version.etag
    assert update_artifact(stubs, artifact, "description").etag == artifact.etag


def test_metrics_keep_the_etag_of_a_run_and_its_config_does_not(stubs: Stubs) -> None:
    run = make_run(stubs)
    column = metric_pb2.MetricColumn(key="loss", doubles=[0.5])
    batch = metric_pb2.MetricBatch(steps=[0], timestamps=[1.0], columns=[column])
    request = metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=1, batch=batch)
    stubs.metrics.LogMetrics(request)
    run.config["lr"].double_value = 0.1
    changed = update_run(stubs, run, config_keys=["lr"])
    assert changed.summary["loss"].double_value == 0.5
    with refused("ETAG_MISMATCH", "run.etag"):
        update_run(stubs, run, config_keys=["lr"])
