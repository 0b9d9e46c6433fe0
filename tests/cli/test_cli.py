"""The command `modelyard`, as scripts and people call it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.cli.output import fit
from tests.clients.commands import COMMAND, json_of
from tests.parts.fork_server import run_python


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python(*COMMAND, *arguments, stdin=subprocess.DEVNULL)


def _json(*arguments: str) -> Any:
    done = _run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def logged(embedded: Path) -> Path:
    """A folder that was logged as `cli/net`."""
    (embedded / "net").mkdir(exist_ok=True)
    (embedded / "net" / "w.bin").write_text("weights")
    _json("log", "net", "--project", "cli", "--name", "net", "--alias", "best")
    return embedded


def test_log_makes_a_version_and_no_run(logged: Path) -> None:
    again = _json("log", "net", "--project", "cli", "--name", "net", "--alias", "second")
    assert again["created"] is False
    assert again["ref"] == "local/cli/net:v0"
    assert {"best", "latest", "second"} <= set(again["aliases"])
    assert again["type"] == "model"
    assert _json("ls", "cli")["runs"] == []


def test_use_prints_the_path_of_the_download(logged: Path) -> None:
    done = _run("use", "cli/net:best")
    place = Path(done.stdout.strip())
    assert place == logged / "artifacts" / "net:v0"
    assert (place / "w.bin").read_text() == "weights"
    other = _json("use", "cli/net", "--root", "there")
    assert Path(other["path"], "w.bin").read_text() == "weights"


def test_link_then_show_both_sides(logged: Path) -> None:
    link = _json("link", "cli/net", "Net Model", "--alias", "staging")
    assert link["ref"] == "local/model-registry/Net Model:v0"
    assert {"staging", "latest"} <= set(link["aliases"])
    shown = _json("show", "Net Model:staging")
    assert shown["kind"] == "link"
    assert shown["source"]["ref"] == "local/cli/net:v0"
    assert shown["files"][0]["path"] == "w.bin"
    assert _json("show", "cli/net:v0")["linked_to"] == ["local/model-registry/Net Model:v0"]
    assert _json("show", "Net Model")["kind"] == "registered_model"
    assert _json("show", "cli/net")["versions"][0]["number"] == 0
    text = _run("show", "Net Model:staging").stdout
    assert "Source version  local/cli/net:v0" in text
    assert "Linked to" in text


def test_show_says_whether_a_name_has_more_versions_than_it_prints(logged: Path) -> None:
    shown = json_of("show", "cli/net")
    assert (len(shown["versions"]), shown["more"]) == (1, False)
    with modelyard.init(project="cli") as run:
        for number in range(50):
            (logged / "many.bin").write_text(str(number))
            run.log_model(logged / "many.bin", name="many")
        shown = json_of("show", "cli/many")
        assert (len(shown["versions"]), shown["more"]) == (50, False)
        (logged / "many.bin").write_text("one more")
        run.log_model(logged / "many.bin", name="many")
    shown = json_of("show", "cli/many")
    assert (len(shown["versions"]), shown["more"], shown["version_count"]) == (50, True, 51)
    assert len(json_of("ls", "cli/many", "--limit", "100")["versions"]) == 51


def test_ls_lists_projects_and_versions(logged: Path) -> None:
    _json("link", "cli/net", "Listed")
    everything = _json("ls")
    assert "local/cli/net" in [item["ref"] for item in everything["artifacts"]]
    assert "local/model-registry/Listed" in [item["ref"] for item in everything["registered_models"]]
    assert [item["ref"] for item in _json("ls", "cli/net")["versions"]] == ["local/cli/net:v0"]
    assert [item["ref"] for item in _json("ls", "Listed")["versions"]] == ["local/model-registry/Listed:v0"]
    assert "net:v0" in _run("ls", "local/cli/net").stdout


def test_show_finds_a_run(embedded: Path) -> None:
    import modelyard

    run = modelyard.init(project="cli", config={"lr": 0.5})
    run.log({"acc": float("nan")})
    run.finish()
    assert _json("show", run.path)["summary"]["acc"] == {"$": "nan"}
    text = _run("show", run.path).stdout
    assert "lr = 0.5" in text
    assert "finished" in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "no/such/thing"], 3),
        (["use", "no/such/thing:v1"], 3),
        (["ls", "nothing-of-that-name"], 3),
        (["show", "a/b/c/d"], 1),
        (["log", "no-such-file"], 2),
        (["ls", "--bogus"], 2),
        (["nonsense"], 2),
    ],
)
def test_exit_codes(embedded: Path, arguments: list[str], code: int) -> None:
    done = _run(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    if code != 2:
        assert len(done.stderr.splitlines()) == 1


def test_an_unreachable_address_is_a_one_line_error(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_URL", "ftp://nowhere")
    done = _run("ls")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    done = _run("completion", shell)
    assert done.returncode == 0
    assert "_MODELYARD_COMPLETE" in done.stdout


def test_help_and_version() -> None:
    assert "modelyard, version" in _run("--version").stdout
    text = _run("--help").stdout
    for command in ("log", "use", "link", "ls", "show", "login", "server", "completion"):
        assert f"\n  {command} " in text
    assert "Exit codes" in text
    assert "start" in _run("server", "--help").stdout


def test_column_widths_fit_the_terminal() -> None:
    assert fit([10, 5], 80) == [10, 5]
    assert sum(fit([100, 50, 8], 60)) == 56
    assert min(fit([100, 100, 100], 10)) == 6
