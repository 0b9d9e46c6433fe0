"""The names that libraries import from `wandb.sdk`: each is the one that modelyard itself uses."""

from __future__ import annotations

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
