"""Members of W&B's `Api` and of the runs that it returns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import modelyard as wandb
from modelyard.apis import public
from modelyard.runs.run import Run


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in an entity and project of its own for each test; ended by `embedded`."""
    name = request.node.name.partition("[")[0][:100]
    return wandb.init(entity=f"of-{name}", project=name, config={"lr": 0.1, "layers": [1, 2]})


def _draft(name: str = "m", text: str = "1") -> wandb.Artifact:
    artifact = wandb.Artifact(name, "model")
    with artifact.new_file("a") as file:
        file.write(text)
    return artifact


def test_projects_are_listed_and_made(run: Run) -> None:
    api = wandb.Api({"entity": run.entity})
    run.log_artifact(_draft()).link("model-registry/M")
    api.create_project("made", run.entity)
    api.create_project("made", run.entity)
    assert [project.name for project in api.projects()] == ["made", "model-registry", run.project]
    assert api.projects(order="-created_at")[0].name == "made"
    assert [project.name for project in api.projects(filter={"name": "made"})] == ["made"]
    found = api.project(run.project)
    assert found == api.project(f"{run.entity}/{run.project}") == api.from_path(f"{run.entity}/{run.project}")
    assert found.path == [run.entity, run.project]
    assert (found.run_count, found.running_run_count, found.artifact_count) == (1, 1, 1)
    assert api.project("model-registry").registered_model_count == 1
    assert [type_.name for type_ in found.artifacts_types()] == ["model"]
    assert [collection.name for collection in found.collections()] == ["m"]
    assert len(found.collections()) == 1
    assert found.last_activity_at >= found.created_at
    assert run.project in found.to_html()
    assert found.display() is False
    assert list(found.sweeps()) == []
    assert found.owner.username == "local"
    with pytest.raises(wandb.errors.NotFound):
        api.project("no-such-project")


def test_a_path_means_a_project_or_a_run(run: Run) -> None:
    api = wandb.Api({"entity": run.entity})
    assert isinstance(api.from_path(run.project), public.Project)
    for path in (run.path, f"{run.entity}/{run.project}/runs/{run.id}"):
        assert api.from_path(path).id == run.id
    for path in ("a/b/sweeps/c", "a/b/reports/c", "a/b/c/d/e"):
        with pytest.raises(wandb.Error, match="Invalid path"):
            api.from_path(path)


def test_users_are_the_principals_of_the_entity(embedded: Path) -> None:
    api = wandb.Api()
    you = api.viewer
    assert (you.username, you.entity, you.teams, you.email) == ("local", "local", ["local"], "")
    assert api.default_entity == "local"
    assert wandb.Api({"entity": "team"}).default_entity == "team"
    assert api.user("local") == you
    assert api.user("local@example.org") == you
    assert api.users("loc") == [you]
    assert api.user("nobody") is None
    assert api.users("nobody") == []
    assert api.flush() is None


def test_a_run_is_made_and_gone_on_with(run: Run) -> None:
    api = wandb.Api({"entity": run.entity, "project": run.project})
    made = api.create_run()
    assert (made.entity, made.project, made.state) == (run.entity, run.project, "running")
    made.summary.update({"cool": 1000})
    assert made.load().summary["cool"] == 1000
    other = api.create_run(run_id="chosen", project="other")
    assert other.path == [run.entity, "other", "chosen"]
    with pytest.raises(wandb.errors.AlreadyExists):
        api.create_run(run_id="chosen", project="other")
    run.finish()
    with wandb.init(entity=run.entity, project="other", id="chosen", resume="must") as resumed:
        resumed.log({"a": 1})
    assert other.load().state == "finished"


def test_a_registry_is_made_without_models(run: Run) -> None:
    api = wandb.Api({"entity": run.entity})
    made = api.create_registry(f"r{run.id}", visibility="organization")
    assert (made.name, made.full_name, list(made.collections())) == (
        f"r{run.id}", f"wandb-registry-r{run.id}", [],
    )  # fmt: skip
    assert f"r{run.id}" in [registry.name for registry in api.registries()]
    with pytest.raises(wandb.errors.AlreadyExists):
        api.create_registry(f"r{run.id}")


def test_versions_are_listed_by_their_number(run: Run) -> None:
    for text in "012":
        run.log_artifact(_draft(text=text))
    api = wandb.Api({"entity": run.entity, "project": run.project})
    for order, expected in {
        "version_index": ["v0", "v1", "v2"],
        "-version_index": ["v2", "v1", "v0"],
        "+version_index": ["v0", "v1", "v2"],
        "-createdAt": ["v2", "v1", "v0"],
    }.items():
        assert [version.version for version in api.artifacts("model", "m", order=order)] == expected
    assert len(api.artifact_versions("model", "m")) == 3


def test_a_run_has_its_config_as_json(run: Run) -> None:
    found = wandb.Api().run(run.path)
    assert json.loads(found.json_config) == {
        "lr": {"value": 0.1, "desc": None}, "layers": {"value": [1, 2], "desc": None},
    }  # fmt: skip
    assert found.rawconfig == {"lr": 0.1, "layers": [1, 2]}
    assert (found.username, found.storage_id, found.sweep, found.sweep_name) == (
        "local", found.load()._record.id, None, None,
    )  # fmt: skip


def test_rows_are_scanned_by_either_name(run: Run) -> None:
    for number in range(5):
        run.log({"loss": number})
    run.finish()
    found = wandb.Api().run(run.path)
    rows = list(found.beta_scan_history(["loss"], min_step=1, max_step=3, use_cache=False))
    assert [row["loss"] for row in rows] == [1, 2]
    assert list(found.scan_history(["loss"], use_cache=True)) == [{"loss": number} for number in range(5)]


def test_a_finished_run_can_use_and_log_versions(run: Run) -> None:
    logged = run.log_artifact(_draft())
    run.finish()
    with wandb.init(entity=run.entity, project=run.project) as other:
        pass
    api = wandb.Api({"entity": run.entity, "project": run.project})
    found = api.run(other.path)
    version = api.artifact("m:v0")
    assert found.use_artifact(version, use_as="base") == version
    assert found.log_artifact(version, aliases=["shared"], tags=["seen"]) == logged
    assert [each.name for each in found.used_artifacts()] == ["m:v0"]
    assert [each.name for each in found.logged_artifacts()] == ["m:v0"]
    again = api.artifact("m:shared")
    assert (again.version, again.tags) == ("v0", ["seen"])
    assert logged.logged_by().id == run.id  # type: ignore[union-attr]  # it was logged by a run
    with pytest.raises(wandb.CommError, match="draft"):
        found.log_artifact(_draft("new"))
    with pytest.raises(wandb.CommError, match="draft"):
        found.use_artifact(_draft("new"))
    elsewhere = wandb.init(entity=run.entity, project="elsewhere")
    foreign = elsewhere.log_artifact(_draft())
    with pytest.raises(ValueError, match="another project"):
        found.log_artifact(foreign)
    assert found.use_artifact(foreign) == foreign


def test_names_are_saved_by_either_name(run: Run) -> None:
    found = wandb.Api().run(run.path)
    found.notes = "changed"
    found.save()
    assert wandb.Api().run(run.path).notes == "changed"
