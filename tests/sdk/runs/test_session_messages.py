"""What the SDK says when a call cannot do what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from tests.clients.commands import refused, run_command


def test_a_second_init_warns_about_ignored_arguments(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = modelyard.init(project="one", config={"a": 1})
    assert modelyard.init(project="two", config={"b": 2}, name="second") is first
    said = capsys.readouterr().err
    assert f"run {first.path} is active" in said
    assert "project, name, config had no effect" in said


def test_a_second_init_without_arguments_prints_nothing(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    modelyard.init(project="one")
    capsys.readouterr()
    modelyard.init()
    assert capsys.readouterr().err == ""


def test_a_misspelled_argument_of_init_is_reported(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    modelyard.init(projct="one", anonymous="allow")
    said = capsys.readouterr().err
    assert "did you mean project?" in said
    assert "anonymous accepted and ignored" in said


def test_a_missing_bare_name_explains_names_of_registered_models(embedded: Path) -> None:
    run = modelyard.init(project="one")
    with pytest.raises(errors.NotFound, match="named model-registry/Reader:staging"):
        run.use_model("Reader:staging")


def test_names_that_are_not_there_raise_attribute_errors() -> None:
    assert not hasattr(modelyard, "nonsense")


def test_an_alias_that_is_not_there_cannot_be_removed(embedded: Path) -> None:
    modelyard.init(project="one").log_model(__file__, name="m", aliases=["best"])
    run_command("alias", "rm", "one/m", "best")
    assert "has no alias best" in refused(3, "alias", "rm", "one/m", "best")
