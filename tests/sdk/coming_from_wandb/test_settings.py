"""Settings under W&B's names, and those that modelyard does not know."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

import modelyard as wandb
from tests.parts.fork_server import run_python


def test_unknown_settings_are_accepted_with_one_line_and_can_be_read_back(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = wandb.Settings(project="p", start_method="thread", x_show_operation_stats=True)
    run = wandb.init(settings=settings)
    run.finish()
    said = [line for line in capsys.readouterr().err.splitlines() if "accepted and ignored" in line]
    assert len(said) == 1
    assert "start_method" in said[0]
    assert "x_show_operation_stats" in said[0]
    assert run.settings.start_method == "thread"
    for same in (settings, copy.copy(settings), pickle.loads(pickle.dumps(settings))):  # noqa: S301
        assert same.x_show_operation_stats is True
    with pytest.raises(AttributeError, match="no_such"):
        _ = settings.no_such


def test_settings_have_other_names_and_items() -> None:
    settings = wandb.Settings(base_url="grpc://127.0.0.1:1", entity="e")
    assert settings.base_url == settings["base_url"] == settings.url
    assert (settings["entity"], settings.get("entity"), settings.get("project", "else")) == ("e", "e", "else")
    with pytest.raises(KeyError):
        _ = settings["no_such"]


def test_the_program_is_named_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "import modelyard; print(modelyard.Settings().program_relpath)"
    Path("src").mkdir()
    Path("src/train.py").write_text(code)
    assert run_python("src/train.py").stdout == "src/train.py\n"
    assert run_python("-c", code).stdout == "None\n"
