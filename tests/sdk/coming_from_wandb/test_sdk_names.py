"""The names that libraries import from `wandb.sdk`: each is the one that modelyard itself uses."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import modelyard as wandb
from tests.parts.fork_server import run_python


def test_the_classes_of_sdk_are_those_of_the_module() -> None:
    assert wandb.sdk.wandb_run.Run is wandb.Run
    assert wandb.sdk.wandb_config.Config is wandb.Config
    assert wandb.sdk.wandb_settings.Settings is wandb.Settings
    assert wandb.sdk.artifacts.artifact.Artifact is wandb.Artifact
    assert wandb.sdk.lib.config_util.ConfigError is wandb.errors.ConfigError
    assert wandb.sdk.lib.runid.generate_id is wandb.util.generate_id


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("sdk.data_types.audio", "Audio"),
        ("sdk.data_types.base_types.media", "Media BatchableMedia"),
        ("sdk.data_types.base_types.wb_value", "WBValue"),
        ("sdk.data_types.bokeh", "Bokeh"),
        ("sdk.data_types.helper_types.bounding_boxes_2d", "BoundingBoxes2D"),
        ("sdk.data_types.helper_types.classes", "Classes"),
        ("sdk.data_types.helper_types.image_mask", "ImageMask"),
        ("sdk.data_types.histogram", "Histogram"),
        ("sdk.data_types.html", "Html"),
        ("sdk.data_types.image", "Image"),
        ("sdk.data_types.molecule", "Molecule"),
        ("sdk.data_types.object_3d", "Object3D box3d"),
        ("sdk.data_types.plotly", "Plotly"),
        ("sdk.data_types.table", "Table JoinedTable PartitionedTable"),
        ("sdk.data_types.video", "Video"),
        ("apis.public.api", "Api"),
        ("apis.public.artifacts", "ArtifactCollection ArtifactType"),
        ("apis.public.files", "File"),
        ("apis.public.projects", "Project"),
        ("apis.public.runs", "Run Runs"),
        ("apis.public.users", "User"),
    ],
)
def test_classes_are_where_wandb_has_them_too(module: str, names: str) -> None:
    public = wandb.data_types if module.startswith("sdk") else wandb.apis.public
    for name in names.split():
        assert getattr(importlib.import_module(f"modelyard.{module}"), name) is getattr(public, name)


def test_small_things_that_scripts_and_libraries_take_from_submodules(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modelyard.sdk.data_types.video as films

    assert len(films.util.generate_id()) == 8
    assert isinstance("path", wandb.sdk.lib.paths.StrPath)
    assert wandb.setup().settings.sweep_id is None
    monkeypatch.setenv("MODELYARD_PROJECT", "before")
    wandb.env.set_project("after")
    wandb.env.set_entity("team", env := {})
    assert (wandb.env.get_project(), env) == ("after", {"MODELYARD_ENTITY": "team"})


@pytest.mark.parametrize("key", [None, "my_" + "k" * 40])
def test_libraries_that_ask_for_a_key_take_the_user_for_logged_in(
    embedded: Path, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    if key:
        monkeypatch.setenv("MODELYARD_API_KEY", key)
    wandb.ensure_configured()
    assert wandb.api.api_key == (key or "local")


def test_a_changed_config_raises_the_error_that_libraries_catch(embedded: Path) -> None:
    from modelyard.sdk.lib.config_util import ConfigError

    run = wandb.init(project="sdk", config={"lr": 0.1})
    with pytest.raises(ConfigError):
        run.config["lr"] = 0.2


def test_disabled_runs_are_told_by_their_class(embedded: Path) -> None:
    from modelyard.sdk.lib import RunDisabled

    with wandb.init(mode="disabled") as disabled:
        assert isinstance(disabled, RunDisabled)
        assert isinstance(disabled, wandb.Run)
    with wandb.init(project="sdk") as run:
        assert not isinstance(run, RunDisabled)


def test_another_process_attaches_to_a_run_by_its_id_for_that(embedded: Path) -> None:
    code = """
import sys
import modelyard as wandb
run = wandb._attach(sys.argv[1])
assert wandb.run is run
wandb.log({"child": 1})
run.finish()
"""
    with wandb.init(project="sdk") as run:
        run.log({"parent": 0})
        run_python("-c", code, run._attach_id, check=True)
    past = wandb.Api().run(run.path)
    assert past.state == "finished"
    assert [row["child"] for row in past.scan_history(keys=["child"])] == [1]
    with pytest.raises(ValueError, match="_attach_id"):
        wandb._attach("no run")


def test_integrations_may_note_features() -> None:
    with wandb.sdk.lib.telemetry.context() as record:
        record.feature.something_new = True
