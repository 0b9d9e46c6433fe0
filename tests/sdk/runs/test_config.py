"""The config of a run: where its entries come from, what is kept of them, and who may change them."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import enum
import functools
import json
import math
import pickle
import types
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Artifact, errors
from modelyard.api import PublicRun
from modelyard.runs.config import ALL_BYTES
from modelyard.runs.run import Run
from tests.parts.embedded import isolate

NAMES = [f"n{index:08}_{'synset_of_many_words' * 2}" for index in range(21_843)]
"""As many as ImageNet has classes; more than a mebibyte of JSON."""


@pytest.fixture
def disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with modelyard.init(mode="disabled") as run:
        yield run


def _stored(run: Run) -> PublicRun:
    return modelyard.Api().run(run.path)


def test_a_very_long_list_costs_no_other_entry(work: Path) -> None:
    run = modelyard.init()
    run.name, run.tags = "renamed", ("good",)
    run.config.update({"classes": NAMES})
    run.config.update({"lr": 0.1, "numbers": [index / 7 for index in range(40_000)]})
    run.finish()
    stored = _stored(run)
    assert stored.config["lr"] == 0.1
    assert len(stored.config["numbers"]) == 40_000
    assert (stored.name, stored.tags) == ("renamed", ["good"])


def test_a_very_long_list_does_not_hinder_init(work: Path) -> None:
    run = modelyard.init(config={"classes": NAMES, "lr": 0.1}, name="first", tags=["good"])
    run.log({"a": 1})
    run.finish()
    stored = _stored(run)
    assert (stored.config["lr"], stored.name, stored.tags) == (0.1, "first", ["good"])
    assert stored.summary["a"] == 1


def test_an_entry_for_which_there_is_no_room_is_named_once(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = {f"part{index}": "x" * 900_000 for index in range(3)}
    run = modelyard.init(config={"lr": 0.1, **huge, "after": 1})
    run.config["more"] = 2
    run.finish()
    said = capsys.readouterr().err
    assert said.count("config 'part2' is kept in this process only") == 1
    assert "config 'part0'" not in said.split("refused")[0]
    assert run.config["part2"] == huge["part2"], "the program itself goes on with what it set"
    stored = _stored(run).config
    assert {"lr": 0.1, "after": 1, "more": 2}.items() <= stored.items()
    assert "part2" not in stored


def test_room_that_an_entry_gives_back_can_be_used_again(work: Path) -> None:
    with modelyard.init(config={"big": "x" * 900_000, "bigger": "x" * 900_000}) as run:
        run.config.update({"big": "small", "bigger": "small", "third": "x" * 700_000}, allow_val_change=True)
    stored = _stored(run).config
    assert (stored["big"], stored["bigger"], len(stored["third"])) == ("small", "small", 700_000)
    assert ALL_BYTES < 3 * 900_000


def test_an_entry_that_cannot_be_stored_any_more_is_removed(work: Path) -> None:
    with modelyard.init(config={"a": 1, "b": 2}) as run:
        run.config.update({"a": "x\0y"}, allow_val_change=True)
    assert _stored(run).config == {"b": 2}


@dataclasses.dataclass
class Optimizer:
    """A dataclass as scripts have them."""

    name: str = "adam"
    betas: tuple[float, float] = (0.9, 0.99)


def _step() -> None:
    """A function to be named in a config."""


STRANGE: dict[str, tuple[Any, Any]] = {
    "a namespace": (argparse.Namespace(lr=1, deep=argparse.Namespace(x=2)), {"lr": 1, "deep": {"x": 2}}),
    "a simple namespace": (types.SimpleNamespace(lr=1), {"lr": 1}),
    "a dataclass": (Optimizer(), {"name": "adam", "betas": [0.9, 0.99]}),
    "bytes": (b"caf\xc3\xa9", "café"),
    "bytes that are no text": (b"\xff\x00a"[:1], "\\xff"),
    "a range": (range(3), [0, 1, 2]),
    "a slice": (slice(1, 9, 2), {"slice_start": 1, "slice_step": 2, "slice_stop": 9}),
    "a function": (_step, f"{__name__}._step"),
    "a class": (Optimizer, f"{__name__}.Optimizer"),
    "a builtin": (len, "builtins.len"),
}


@pytest.mark.parametrize("which", STRANGE)
def test_objects_become_what_they_hold(work: Path, which: str) -> None:
    given, kept = STRANGE[which]
    with modelyard.init(config={"value": given, "deep": {"values": [given]}}) as run:
        pass
    assert _stored(run).config == {"value": kept, "deep": {"values": [kept]}}


def test_a_namespace_that_contains_itself_costs_nothing_else(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = argparse.Namespace(lr=1)
    ring.ring = ring
    with modelyard.init(config={"ring": ring, "lr": 2}) as run:
        pass
    assert _stored(run).config == {"lr": 2}
    assert "contains itself" in capsys.readouterr().err


def test_a_dataclass_is_a_config(disabled: Run) -> None:
    disabled.config.update(Optimizer())
    assert disabled.config.name == "adam"


def test_an_object_without_a_text_is_still_no_error(disabled: Run) -> None:
    disabled.config["partial"] = functools.partial(_step)
    assert "partial" in str(disabled.config["partial"])


LONG_FORM = """
wandb_version: 1
lr: {value: 0.5, desc: how fast}
layers:
  desc: how many
  value: [1, 2]
name: plain
net: {width: 3}
"""


def test_defaults_come_from_a_file_in_the_working_directory(work: Path) -> None:
    Path("config-defaults.yaml").write_text(LONG_FORM)
    with modelyard.init(config={"lr": 0.1}) as run:
        assert run.config.as_dict() == {"lr": 0.1, "layers": [1, 2], "name": "plain", "net": {"width": 3}}
    assert _stored(run).config == run.config.as_dict()
    with modelyard.init(mode="disabled") as other:
        assert other.config.lr == 0.5


def test_defaults_do_not_replace_what_a_resumed_run_has(work: Path) -> None:
    with modelyard.init(config={"lr": 0.1}) as run:
        pass
    Path("config-defaults.yaml").write_text("lr: 0.5\nnew: 1\n")
    with modelyard.init(id=run.id, resume="must") as again:
        assert dict(again.config) == {"lr": 0.1, "new": 1}
    assert _stored(run).config == {"lr": 0.1, "new": 1}


def test_defaults_that_cannot_be_read_are_an_error_before_there_is_a_run(work: Path) -> None:
    Path("config-defaults.yaml").write_text("lr: [")
    with pytest.raises(errors.ConfigError, match=r"config-defaults\.yaml"):
        modelyard.init()
    assert modelyard.run is None


def test_files_of_a_variable_come_before_the_defaults_and_the_later_one_first(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config-defaults.yaml").write_text("lr: 0.5\ndepth: 1\nseed: 1\n")
    Path("one.yaml").write_text("depth: {value: 2}\nwidth: 2\nname: one\n")
    Path("two.yaml").write_text("width: 3\nname: two\n")
    monkeypatch.setenv("WANDB_CONFIG_PATHS", "one.yaml, two.yaml")
    with modelyard.init(config={"name": "given"}) as run:
        pass
    assert _stored(run).config == {"lr": 0.5, "depth": 2, "width": 3, "seed": 1, "name": "given"}
    with pytest.raises(errors.ConfigError, match=r"three\.yaml"):
        modelyard.init(settings={"config_paths": ["three.yaml"]})


class Mode(enum.Enum):
    FAST = "f"


class Level(enum.IntEnum):
    HIGH = 3


def test_members_of_enums_are_names_in_the_config_and_values_elsewhere(work: Path) -> None:
    with modelyard.init(config={"mode": Mode.FAST, "levels": [Level.HIGH]}) as run:
        run.log({"level": Level.HIGH})
        run.summary["mode"] = Mode.FAST
    stored = _stored(run)
    assert stored.config == {"mode": "FAST", "levels": ["HIGH"]}
    assert (stored.summary["level"], stored.summary["mode"]) == (3, "f")


def test_an_artifact_in_the_config_is_used_and_kept_as_a_reference(work: Path) -> None:
    with modelyard.init(job_type="data") as maker:
        data = Artifact("data", "dataset")
        data.add_file(__file__)
        maker.log_artifact(data)
    with modelyard.init(config={"data": modelyard.Api().artifact("data:latest")}) as run:
        draft = Artifact("words", "dataset")
        run.config["words"] = draft
        assert run.config["words"] is draft, "the program reads the artifact"
        assert draft.version == "v0", "a draft is logged first"
    stored = _stored(run)
    assert stored.config["data"] == {
        "_type": "artifactVersion", "_version": "v0", "id": data.id, "version": "v0",
        "sequenceName": "data", "usedAs": None,
    }  # fmt: skip
    assert stored.config["words"]["sequenceName"] == "words"
    assert {used.name for used in stored.used_artifacts()} == {"data:v0", "words:v0"}


@pytest.mark.parametrize("nest", [lambda data: [data], lambda data: {"a": ({"b": data},)}])
def test_an_artifact_inside_of_a_value_is_refused(disabled: Run, nest: Any) -> None:
    with pytest.raises(ValueError, match="can only be an entry itself"):
        disabled.config["data"] = nest(Artifact("data", "dataset"))
    assert "data" not in disabled.config


def test_a_disabled_run_takes_artifacts_too(disabled: Run) -> None:
    disabled.config["data"] = Artifact("data", "dataset")
    assert disabled.config.data.name == "data:v0"
    assert copy.deepcopy(disabled.config).data.type == "dataset"


def test_locked_entries_are_changed_by_their_owner_only(
    disabled: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    disabled.config["lr"] = 1
    with pytest.raises(errors.ConfigError):
        disabled.config.update_locked({"lr": 2}, "search")
    disabled.config.update_locked({"lr": 2}, "search", _allow_val_change=True)
    disabled.config.lr = 3
    disabled.config.update({"lr": 4, "other": 5}, allow_val_change=True)
    assert dict(disabled.config) == {"lr": 2, "other": 5}
    assert capsys.readouterr().err.count("config 'lr' is locked by search") == 2
    disabled.config.update_locked({"lr": 6}, "search", _allow_val_change=True)
    assert disabled.config.lr == 6


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([0.5] * 9, [0.5] * 9, True),
        ([math.nan, 1.0], [math.nan, 1.0], True),
        ([math.nan, 1.0], [-math.nan, 1.0], True),
        ([0.0], [-0.0], False),
        ([1.0], [1], False),
        ([1.0, 2.0], [1.0, 3.0], False),
        ([1, "a"], (1, "a"), True),
    ],
)
def test_setting_an_equal_list_again_is_no_change(disabled: Run, one: Any, other: Any, same: bool) -> None:
    disabled.config["x"] = one
    with nullcontext() if same else pytest.raises(errors.ConfigError):
        disabled.config["x"] = other


def test_reading_a_config_works_as_with_a_dict(disabled: Run) -> None:
    disabled.config.update({"a": 1, "b": {"c": 2}})
    config = disabled.config
    assert list(config.keys()) == ["a", "b"]
    assert list(config.values()) == [1, {"c": 2}]
    assert dict(config.items()) == config.as_dict() == {"a": 1, "b": {"c": 2}}
    assert (config.get("a"), config.get("x"), config.get("x", 3), "a" in config) == (1, None, 3, True)
    assert json.loads(json.dumps(dict(config))) == pickle.loads(pickle.dumps(config)).as_dict()  # noqa: S301


def test_persist_sends_every_entry_again(work: Path) -> None:
    run = modelyard.init(config={"a": 1, "b": 2})
    other = _stored(run)
    other.config["a"] = 5
    other.update()
    run.config.persist()
    run.finish()
    assert _stored(run).config == {"a": 1, "b": 2}


def test_changes_after_the_end_are_an_error(work: Path) -> None:
    run = modelyard.init(config={"a": 1})
    run.finish()
    for change in (
        lambda: run.config.update({"b": 2}),
        lambda: run.config.setdefaults({"b": 2}),
        lambda: run.config.update_locked({"b": 2}),
        lambda: run.config.persist(),
        lambda: setattr(run.config, "b", 2),
        lambda: run.summary.update({"b": 2}),
        lambda: run.summary.pop("_step"),
    ):
        with pytest.raises((errors.UsageError, KeyError)):
            change()
    assert run.config["a"] == 1
    assert _stored(run).config == {"a": 1}
