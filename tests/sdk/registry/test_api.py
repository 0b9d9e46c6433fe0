"""`Api`: what was logged, found without a run, on both databases."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

import modelyard
from modelyard import Api, errors
from modelyard.query.listing import Listing
from modelyard.runs.run import Run
from tests.clients.commands import run_command
from tests.parts.server import new_project
from tests.sdk.artifacts.test_artifact_versions import draft


@pytest.fixture
def run(work: Path) -> Run:
    """A run in a project of its own."""
    return modelyard.init()


def test_versions_come_newest_first_in_pages(run: Run) -> None:
    for number in range(7):
        artifact = draft("data", {"n": str(number)})
        artifact.metadata["n"] = number
        run.log_artifact(artifact, tags=["even"] if number % 2 == 0 else ["odd"])
    found = Api().artifacts("dataset", "data", per_page=2)
    assert len(found) == 7
    assert [version.version for version in found] == ["v6", "v5", "v4", "v3", "v2", "v1", "v0"]
    assert [version.version for version in found] == [f"v{number}" for number in range(6, -1, -1)]
    assert (found[0].version, found[-1].version) == ("v6", "v0")
    assert [version.version for version in found[1:3]] == ["v5", "v4"]
    even = Api().artifacts("dataset", "data", per_page=2, tags="even", order="+number")
    assert [version.version for version in even] == ["v0", "v2", "v4", "v6"]
    with pytest.raises(TypeError):
        len(even)
    wanted = Api().artifacts("dataset", "data", filter={"metadata.n": {"$gte": 5}})
    assert [version.version for version in wanted] == ["v6", "v5"]
    with pytest.raises(ValueError, match="dataset"):
        Api().artifacts("model", "data")
    with pytest.raises(errors.NotFound):
        Api().artifacts("model", "nothing")


def test_existing_and_missing_things_are_distinguished(run: Run) -> None:
    run.log_artifact(draft("data", {"a": "1"}))
    api = Api()
    assert api.artifact_exists("data")
    assert api.artifact_exists("data:v0", type="dataset")
    assert not api.artifact_exists("data:v0", type="model")
    assert not api.artifact_exists("data:v1")
    assert api.artifact_collection_exists("data", "dataset")
    assert not api.artifact_collection_exists("data", "model")
    assert not api.artifact_collection_exists("nothing", "dataset")


def test_a_name_means_the_same_to_api_run_and_command(run: Run) -> None:
    run.log_artifact(draft("m", {"x": "m"}, kind="model")).link("model-registry/Linked")
    api = Api()
    for name in ("m", f"{run.project}/m:latest", "model-registry/Linked"):
        found = api.artifact(name)
        shown = json.loads(run_command("show", name if ":" in name else f"{name}:latest", "--json").stdout)
        assert found == run.use_artifact(name)
        assert shown["ref"] == found.qualified_name
    hint = "a registered model is named model-registry/Linked"
    for look_up in (api.artifact, run.use_artifact):
        with pytest.raises(errors.NotFound, match=hint):
            look_up("Linked")
    assert api.registered_model("Linked").link("m").source_version == "v0"
    assert "model-registry/Linked:v0" in run_command("show", "Linked:latest").stdout


def test_collections_and_types_of_a_project(run: Run) -> None:
    for name, kind in (("a", "dataset"), ("b", "dataset"), ("m", "model")):
        run.log_artifact(draft(name, {"x": name}, kind=kind))
    api = Api()
    types = api.artifact_types()
    assert [(found.name, len(found.collections())) for found in types] == [("dataset", 2), ("model", 1)]
    assert api.artifact_type("model").collection("m").name == "m"
    with pytest.raises(errors.NotFound, match="nothing"):
        api.artifact_type("nothing")
    listed = api.artifact_collections(run.project, "dataset", per_page=1)
    assert len(listed) == 2
    assert [found.name for found in listed] == ["a", "b"]
    assert [found.name for found in api.artifact_collections(run.project, "dataset", order="-name")] == [
        "b",
        "a",
    ]
    with pytest.raises(ValueError, match="dataset"):
        api.artifact_collection("model", "a")


def test_a_collection_is_described_tagged_and_deleted(run: Run) -> None:
    run.log_artifact(draft("data", {"x": "1"}), aliases=["best"])
    collection = Api().artifact_collection("dataset", "data")
    assert collection.aliases == ["best", "latest"]
    assert collection.is_sequence()
    collection.description = "Photos"
    collection.tags.append("photos")
    collection.save()
    again = Api().artifact_collection("dataset", f"{run.project}/data")
    assert (again.description, again.tags, again.id) == ("Photos", ["photos"], collection.id)
    with pytest.raises(errors.UsageError, match="stays 'dataset'"):
        collection.change_type("model")
    with pytest.raises(errors.UsageError, match="keeps its name"):
        collection.name = "other"
    with pytest.raises(errors.CommError):
        collection.delete()
    collection.delete(delete_aliases=True)
    assert not Api().artifact_collection_exists("data", "dataset")
    assert run.log_artifact(draft("data", {"x": "2"})).version == "v1"


def test_versions_are_searched_across_a_project(run: Run) -> None:
    for name, accuracy in (("one", 0.5), ("two", 0.93), ("three", 0.97)):
        artifact = draft(name, {"x": name}, kind="model")
        artifact.metadata = {"acc": accuracy}
        run.log_artifact(artifact)
    best = Api().versions(run.project, "metadata.acc > 0.9", order="metadata.acc desc")
    assert [version.source_name for version in best] == ["three:v0", "two:v0"]
    again = Api().versions(run.project, {"$or": [{"name": "one"}, {"metadata.acc": {"$gt": 0.95}}]})
    assert {version.source_name for version in again} == {"one:v0", "three:v0"}
    with pytest.raises(errors.InvalidFilter, match="character 9"):
        list(Api().versions(run.project, "metadata.= 3"))


def test_runs_are_found_by_config_and_summary(run: Run) -> None:
    run.finish()
    for rate in (0.1, 0.01):
        with modelyard.init(config={"lr": rate}) as each:
            each.log({"acc": 1 - rate})
    found = Api().runs(run.project, filters={"config.lr": {"$lt": 0.05}})
    assert [each.config["lr"] for each in found] == [0.01]
    both = Api().runs(run.project, {"summary_metrics.acc": {"$gt": 0.5}}, order="+created_at")
    assert [each.config["lr"] for each in both] == [0.1, 0.01]
    assert len(list(Api().runs(f"local/{run.project}"))) == 3


def test_a_run_is_changed_after_it_ended(run: Run) -> None:
    run.config["lr"] = 0.1
    run.config["seed"] = 3
    run.log({"acc": 0.5})
    run.finish()
    found, other = Api().run(run.path), Api().run(run.path)
    other.summary["note"] = "theirs"
    other.tags.append("theirs")
    other.update()
    found.name, found.notes, found.tags = "renamed", "why", ["kept"]
    found.config["lr"] = 0.2
    del found.config["seed"]
    found.summary["best"] = {"acc": 0.9}
    found.update()
    again = Api().run(run.path)
    assert (again.name, again.notes, again.tags) == ("renamed", "why", ["theirs", "kept"])
    assert again.config == {"lr": 0.2}
    assert (again.summary["best"], again.summary["note"]) == ({"acc": 0.9}, "theirs")
    assert again.summary["acc"] == 0.5


def test_a_registered_model_is_created_changed_and_deleted(run: Run) -> None:
    api, registry = Api(), f"wandb-registry-{run.id}"
    model = api.create_registered_model(f"{registry}/Churn", "# Churn\nWho leaves?", tags=["tabular"])
    with pytest.raises(errors.AlreadyExists):
        api.create_registered_model(f"{registry}/Churn")
    assert (model.type, model.version_count, model.tags) == ("model", 0, ["tabular"])
    first = model.link(run.log_artifact(draft("m", {"x": "1"}, kind="model")), aliases=["staging"])
    first.tags.append("tried")
    first.save()
    second = model.link(str(run.log_artifact(draft("m", {"x": "2"}, kind="model")).qualified_name))
    assert (first.version, second.version) == ("v0", "v1")
    assert model.latest.version == "v1"
    assert model.version("staging").source_name == "m:v0"
    assert [link.version for link in model.versions()] == ["v1", "v0"]
    assert len(model.versions()) == 2
    tried = api.artifacts("model", f"{registry}/Churn", tags=["tried"])
    assert [link.version for link in tried] == ["v0"]
    assert [link.version for link in model.versions({"tag": "tried"})] == ["v0"]
    model.name = "Churn two"
    model.description = "# New card"
    model.tags = ["tabular", "q3"]
    model.save()
    again = api.registered_model(f"{registry}/Churn two")
    assert (again.description, sorted(again.tags), again.id) == ("# New card", ["q3", "tabular"], model.id)
    assert not api.artifact_collection_exists(f"{registry}/Churn", "model")
    assert api.artifact_collection("model", f"{registry}/Churn two") == again
    again.version("v0").unlink()
    assert [link.version for link in again.versions()] == ["v1"]
    again.delete()
    with pytest.raises(errors.NotFound):
        api.registered_model(f"{registry}/Churn two")
    assert api.artifact("m:v1").linked_artifacts == []
    revived = api.artifact("m:v1").link(f"{registry}/Churn two")
    assert revived.version == "v2"


def test_history_lists_who_moved_which_alias_and_when(run: Run) -> None:
    model = Api().create_registered_model(f"History {run.id}")
    for text in ("1", "2"):
        model.link(run.log_artifact(draft("m", {"x": text}, kind="model")))
    before = datetime.datetime.now(datetime.UTC)
    model.set_alias("production", "v0", expected="")
    between = datetime.datetime.now(datetime.UTC)
    with pytest.raises(errors.AliasChanged):
        model.set_alias("production", "v1", expected="")
    model.set_alias("production", "v1", expected="v0")
    model.remove_alias("production")
    moves = [(move.alias, move.previous_version, move.version) for move in model.history("production")]
    assert moves == [
        ("production", "v1", None),
        ("production", "v0", "v1"),
        ("production", None, "v0"),
    ]
    assert {move.principal for move in model.history()} == {model.history()[0].principal}
    assert model.alias_at("production", before) is None
    assert model.alias_at("production", between) == "v0"
    assert model.alias_at("production", between.isoformat()) == "v0"
    assert model.alias_at("production", datetime.datetime.now(datetime.UTC)) is None
    assert model.aliases_at(between) == {"latest": "v1", "production": "v0"}
    with pytest.raises(ValueError, match="not a time"):
        model.alias_at("production", "yesterday")
    artifact = Api().artifact_collection("model", "m")
    assert [move.version for move in artifact.history("latest")] == ["v1", "v0"]


def test_registries_are_listed_and_searched(run: Run) -> None:
    api = Api()
    registry = api.registry(run.id)
    assert registry.full_name == f"wandb-registry-{run.id}"
    assert run.id not in [found.name for found in api.registries()]
    for name in ("One", "Two"):
        registry.create_collection(
            name, description=f"card of {name}", tags=["kept"] if name == "Two" else []
        )
    version = run.log_artifact(draft("m", {"x": run.id}, kind="model"))
    version.link(f"wandb-registry-{run.id}/Two", aliases=["production"])
    assert registry.collection("Two").description == "card of Two"
    chosen = api.registries(filter={"name": run.id})
    assert [found.name for found in chosen] == [run.id]
    assert len(chosen) == 1
    assert [model.name for model in chosen.collections()] == ["One", "Two"]
    assert len(api.registry(run.id).collections()) == 2
    assert [model.name for model in chosen.collections(filter={"tag": "kept"})] == ["Two"]
    found = chosen.collections().versions(filter={"alias": "production"})
    assert [link.qualified_name for link in found] == [f"local/wandb-registry-{run.id}/Two:v0"]
    assert [link.version for link in chosen.versions()] == ["v0"]
    assert "Two" in [model.name for model in api.registered_models(filter='tags : "kept"')]
    with pytest.raises(ValueError, match="chosen by name"):
        api.registries(filter={"entity": "x"})


@pytest.mark.parametrize(
    ("target", "project"),
    [
        ("Bare {id}", "{project}"),
        ("model-registry/Named {id}", "model-registry"),
        ("local/model-registry/Full {id}", "model-registry"),
        ("wandb-registry-x{id}/Own", "wandb-registry-x{id}"),
        ("plain-{id}/In a project", "plain-{id}"),
    ],
)
def test_every_form_of_target_is_made_and_read(run: Run, target: str, project: str) -> None:
    target, project = target.format(id=run.id), project.format(id=run.id, project=run.project)
    linked = run.link_artifact(draft("m", {"x": "1"}, kind="model"), target, aliases=["a"])
    assert linked.project == project
    full = f"local/{project}/{target.rpartition('/')[2]}"
    assert Api().registered_model(full).latest.version == "v0"
    assert Path(run.use_model(f"{full}:a")).name == "x"


def test_events_are_read_from_any_number(run: Run) -> None:
    logged = run.log_artifact(draft("data", {"x": "1"}), aliases=["best"], tags=["t"])
    run.finish()
    events = list(Api().events(run.project))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    kinds = [event.type for event in events]
    assert kinds[0] == "run_state"
    assert {"collection_created", "version_created", "alias_added", "tag_added"} <= set(kinds)
    assert events[-1].run_state == "finished"
    later = list(Api().events(run.project, after=3))
    assert later == events[3:]
    only = list(Api().events(run.project, filter='type = "alias_added"'))
    assert [(event.alias, event.ref) for event in only] == [
        (alias, logged.qualified_name) for alias in ("best", "latest")
    ]
    with pytest.raises(errors.NotFound):
        list(Api().events(new_project()))
    with pytest.raises(ValueError, match="after"):
        Api().events(run.project, after=-1)
    with pytest.raises(ValueError, match="follow"):
        Api().events(run.project, after=None)


def test_a_listing_fetches_no_more_than_is_looked_at() -> None:
    asked: list[int] = []

    def items() -> object:
        for number in range(10):
            asked.append(number)
            yield number

    listing = Listing(items())  # type: ignore[arg-type,var-annotated]  # any iterable will do
    assert bool(listing)
    assert listing[2] == 2
    assert len(asked) <= 4
    assert next(listing) == 0
    assert next(listing) == 1
    assert list(listing) == list(range(10))
    assert repr(listing) == "[0, 1, 2, …]"


def test_a_change_of_kind_alone_is_sent(embedded: Path) -> None:
    with modelyard.init(project="kinds", config={"flag": 1, "deep": {"n": 1}}) as run:
        run.summary["flag"] = 1
        draft = modelyard.Artifact("m", "model", metadata={"flag": 1})
        with draft.new_file("w.txt") as file:
            file.write("w")
        run.log_artifact(draft)
    found = modelyard.Api().run(run.path)
    found.config["flag"], found.config["deep"], found.summary["flag"] = True, {"n": 1.0}, 1.0
    found.update()
    stored = modelyard.Api().run(run.path)
    assert repr((stored.config, stored.summary["flag"])) == "({'deep': {'n': 1.0}, 'flag': True}, 1.0)"
    artifact = modelyard.Api().artifact("kinds/m:v0")
    artifact.metadata["flag"] = True
    artifact.save()
    assert modelyard.Api().artifact("kinds/m:v0").metadata["flag"] is True
