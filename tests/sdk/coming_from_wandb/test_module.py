"""Names of W&B's module besides `init` and the calls about a run."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard as wandb
from modelyard.configuration import settings as configuration
from modelyard.public_runs.public_run import PublicRun


@pytest.fixture
def _no_defaults() -> Iterator[None]:
    yield
    configuration.set_process_defaults(wandb.Settings())


@pytest.mark.usefixtures("_no_defaults")
def test_setup_sets_defaults_that_arguments_come_before(
    embedded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_PROJECT", "of-the-environment")
    assert wandb.setup().settings.project == "of-the-environment"
    wandb.setup(wandb.Settings(project="of-the-process", run_group="g"))
    with wandb.init() as run:
        assert (run.project, run.group) == ("of-the-process", "g")
    with wandb.init(project="given", settings={"run_group": "h"}) as run:
        assert (run.project, run.group) == ("given", "h")
    assert wandb.Api().settings.project == "of-the-process"


def test_teardown_finishes_every_run(embedded: Path) -> None:
    first = wandb.init(project="p")
    second = wandb.init(project="p", reinit="create_new")
    wandb.teardown(exit_code=3)
    assert wandb.run is None
    states = [wandb.Api().run(run.path) for run in (first, second)]
    assert [(run.state, run.exit_code) for run in states] == [("failed", 3)] * 2
    wandb.teardown()


def test_require_accepts_the_parts_of_wandb_and_refuses_others() -> None:
    wandb.require("core")
    wandb.require(["service", "legacy-service@beta"])
    wandb.require(experiment="nexus")
    with pytest.raises(wandb.errors.UnsupportedError, match="flux"):
        wandb.require("flux")


def test_attach_returns_the_active_run_and_says_how_to_reach_another(embedded: Path) -> None:
    run = wandb.init(project="p")
    assert wandb.attach(run.id) is run
    assert wandb.attach(run_id=run.id) is run
    assert wandb.attach(run=run) is run
    with pytest.raises(wandb.UsageError, match="mode='shared'"):
        wandb.attach("another")
    with pytest.raises(wandb.UsageError, match="either"):
        wandb.attach()


@pytest.mark.parametrize("name", ["sweep", "agent", "controller"])
def test_sweeps_say_what_to_use_instead(name: str) -> None:
    with pytest.raises(wandb.UsageError, match=rf"{name}: sweeps are not part.*Optuna"):
        getattr(wandb, name)({"method": "grid"}, project="p")


def test_errors_are_at_the_module() -> None:
    assert wandb.Error is wandb.errors.Error
    assert wandb.CommError is wandb.errors.CommError
    assert wandb.UsageError is wandb.errors.UsageError
    assert issubclass(wandb.errors.UnsupportedError, wandb.UsageError)


def test_ids_differ_under_one_seed() -> None:
    import random

    ids = set()
    for _ in range(20):
        random.seed(1)
        ids.add(wandb.util.generate_id())
    assert len(ids) == 20
    assert {len(one) for one in ids} == {8}
    assert len(wandb.util.generate_id(12)) == 12


def test_util_makes_names_and_finds_modules() -> None:
    assert wandb.util.make_artifact_name_safe("runs/α:1 b") == "runs---1-b"
    assert wandb.util.get_module("json") is importlib.import_module("json")
    assert wandb.util.get_module("no_such_module_here") is None
    with pytest.raises(ImportError, match="pip install it"):
        wandb.util.get_module("no_such_module_here", required="pip install it")


def test_env_has_the_names_of_variables_and_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb.env.get_project("else") == "else"
    monkeypatch.setitem(os.environ, wandb.env.PROJECT, "digits")
    monkeypatch.setitem(os.environ, wandb.env.MODE, "offline")
    assert wandb.env.get_project() == "digits"
    assert wandb.env.is_offline()
    assert wandb.env.get_entity(env={"WANDB_ENTITY": "team"}) == "team"
    assert wandb.env.get_artifact_dir({}) == str(Path("artifacts").absolute())
    assert not wandb.env.is_silent({})


def test_every_constant_of_env_is_a_variable_that_is_read() -> None:
    known = {f"MODELYARD_{suffix}" for suffix in configuration.FIELDS.values()}
    constants = {value for name, value in vars(wandb.env).items() if name.isupper() and name != "FIELDS"}
    assert constants <= known


def test_classes_of_the_public_api_are_those_that_api_returns(embedded: Path) -> None:
    assert wandb.apis.public.Run is PublicRun
    assert wandb.apis.PublicApi is wandb.Api
    with wandb.init(project="p") as run:
        run.log({"a": 1})
    assert isinstance(wandb.Api().run(run.path), wandb.apis.public.Run)


def test_module_has_every_name_it_lists() -> None:
    for name in wandb.__all__:
        assert hasattr(wandb, name), name
