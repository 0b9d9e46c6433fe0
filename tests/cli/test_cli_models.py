"""`modelyard model`: registered models on the command line."""

from __future__ import annotations

import datetime
import shlex
from pathlib import Path

import pytest

import modelyard
from modelyard.runs.run import Run
from tests.clients.commands import json_of, on_terminal, refused, run_command
from tests.sdk.artifacts.test_artifact_versions import draft


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in a project of its own that logged two versions of `net`."""
    run = modelyard.init(project=request.node.name[:100])
    for number in range(2):
        run.log_artifact(draft("net", {"w.bin": str(number)}, kind="model"))
    return run


@pytest.fixture
def name(run: Run) -> str:
    """A registered model in a registry of its own, with a card; `net:v0` is its `v0`."""
    Path("card.md").write_text("# Card\n\nWhat it is for.\n")
    name = f"wandb-registry-{run.id}/The Model"
    made = json_of("model", "create", name, "--card", "card.md", "--tag", "tabular")
    assert made["ref"] == f"local/{name}"
    json_of("link", f"{run.project}/net:v0", name, "--alias", "staging")
    return name


def test_a_model_is_made_listed_and_shown(name: str, run: Run) -> None:
    assert "belongs to a registered model" in refused(1, "model", "create", name)
    listed = json_of("model", "ls", f"wandb-registry-{run.id}")["registered_models"]
    assert [(item["ref"], item["version_count"], item["tags"]) for item in listed] == [
        (f"local/{name}", 1, ["tabular"])
    ]
    assert (
        json_of("model", "ls", f"wandb-registry-{run.id}", "--filter", 'tags : "other"')["registered_models"]
        == []
    )
    text = run_command("model", "show", name).stdout
    assert "# Card" in text
    assert "What it is for." in text
    assert f"local/{run.project}/net:v0" in text
    shown = json_of("model", "show", f"{name}:staging")
    assert (shown["kind"], shown["source"]["ref"]) == ("link", f"local/{run.project}/net:v0")
    assert "Source version" in run_command("model", "show", f"{name}:v0").stdout
    assert "`modelyard model ls`" in refused(3, "model", "show", f"{name} not")


def test_a_model_with_many_versions_says_what_lists_the_rest(name: str, run: Run) -> None:
    for number in range(20):
        run.link_artifact(run.log_artifact(draft("more", {"w.bin": str(number)}, kind="model")), name)
    shown = run_command("model", "show", name)
    assert len([line for line in shown.stdout.splitlines() if f"local/{run.project}/" in line]) == 20
    command = f"modelyard ls 'local/{name}' --limit 200"
    assert shown.stderr == f"The first 20; `{command}` shows more.\n"
    assert len(json_of(*shlex.split(command)[1:])["versions"]) == 21


def test_history_lists_who_moved_which_alias_and_when(name: str, run: Run) -> None:
    json_of("link", f"{run.project}/net:v1", name)
    json_of("alias", "set", f"{name}:v0", "production")
    between = datetime.datetime.now(datetime.UTC).isoformat()
    json_of("alias", "set", f"{name}:v1", "production", "--from", "v0")
    moves = json_of("model", "history", name, "--alias", "production")
    assert [(move["previous_version"], move["version"]) for move in moves] == [("v0", "v1"), (None, "v0")]
    assert json_of("model", "history", name, "--at", between)["production"] == "v0"
    assert json_of("model", "history", name, "--at", between, "--alias", "latest") == {"latest": "v1"}
    table = run_command("model", "history", name, "--limit", "1")
    assert table.stdout.splitlines()[0].split() == ["TIME", "WHO", "ALIAS", "FROM", "TO"]
    assert table.stdout.splitlines()[1].split()[-3:] == ["production", "v0", "v1"]
    assert "--limit" in table.stderr
    assert "not a time" in refused(1, "model", "history", name, "--at", "yesterday")


def test_links_and_models_are_deleted_and_sources_stay(name: str, run: Run) -> None:
    json_of("link", f"{run.project}/net:v1", name)
    assert json_of("model", "rm", f"{name}:v0") == {"deleted": f"local/{name}:v0"}
    assert [item["number"] for item in json_of("model", "show", name)["versions"]] == [1]
    code, shown = on_terminal("model", "rm", name, answer="n\n")
    assert (code, "with 1 link?" in shown) == (1, True)
    assert json_of("model", "rm", name, "--yes") == {"deleted": f"local/{name}"}
    assert "was not found" in refused(3, "model", "show", name)
    assert json_of("show", f"{run.project}/net:v1")["linked_to"] == []


def test_description_and_card_cannot_both_be_given(run: Run) -> None:
    done = run_command("model", "create", f"Twice {run.id}", "--description", "a", "--card", "-")
    assert done.returncode == 2
    assert "not both" in done.stderr
