"""The command line's errors for unknown names, and its lists of aliases and kinds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.configuration.settings import current
from modelyard.rpc.connection import connect
from tests.clients.commands import json_of, refused, run_command
from tests.sdk.artifacts.test_log_unchanged import CountedStub


@pytest.fixture
def logged(embedded: Path) -> Path:
    """`hints/reader` with the alias `best`, linked as the registered model `Hinted` with `prod`."""
    (embedded / "m.bin").write_text("weights")
    run_command("log", "m.bin", "--project", "hints", "--name", "reader", "--alias", "best")
    run_command("link", "hints/reader", "Hinted", "--alias", "prod")
    return embedded


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("use", "hints/reader:bset"), "'reader' has no alias 'bset'; did you mean 'best'?"),
        (("use", "hints/raeder"), "'raeder' in local/hints; did you mean 'reader'?"),
        (("use", "hinst/reader"), "there is no project 'hinst' in local; did you mean 'hints'"),
        (("use", "Hinted:prdo"), "'Hinted' has no alias 'prdo'; did you mean 'prod'?"),
        (("show", "hints/reader:v3"), "'reader' has no v3; its newest version is v0"),
        (("show", "hints/raeder"), "no such artifact, registered model or run: there is no artifact"),
        (("show", "hints/reader.v2"), "no such artifact, registered model or run: there is no artifact"),
        (("show", "Customer churn"), "no such artifact, registered model or run"),
        (("lineage", "my.model"), "my.model"),
        (("tag", "hints/raeder", "x"), "did you mean 'reader'?"),
        (("alias", "ls", "hints/raeder"), "did you mean 'reader'?"),
        (("model", "show", "Hintde"), "did you mean 'Hinted'?"),
        (("use", "hintde"), "did you mean 'Hinted'?"),
        (("alias", "rm", "hints/reader", "nope"), "`modelyard alias ls` lists them"),
        (("use", "nonsense-of-all"), "(without a project, uncategorized and model-registry are searched)"),
    ],
)
def test_an_unknown_name_is_explained_with_suggestions(
    logged: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(3, *arguments)


def test_a_list_of_a_project_that_is_not_there_says_so(logged: Path) -> None:
    done = run_command("artifact", "ls", "hinst")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Nothing found: there is no project 'hinst' in local; did you mean 'hints'" in done.stderr


def test_aliases_are_listed_with_the_version_each_stands_on(logged: Path) -> None:
    (logged / "m.bin").write_text("other weights")
    run_command("log", "m.bin", "--project", "hints", "--name", "reader")
    assert json_of("alias", "ls", "hints/reader") == {
        "ref": "local/hints/reader",
        "aliases": {"best": "v0", "latest": "v1"},
    }
    lines = run_command("alias", "ls", "Hinted").stdout.splitlines()
    assert lines[0].split() == ["ALIAS", "VERSION", "SOURCE", "VERSION"]
    assert ["prod", "v0", "local/hints/reader:v0"] in [line.split() for line in lines]


def test_aliases_of_a_version_are_not_those_of_its_name(logged: Path) -> None:
    done = run_command("alias", "ls", "hints/reader:best")
    assert (done.returncode, "names a version" in done.stderr) == (2, True)


def test_removing_aliases_lists_the_versions_once(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command("alias", "set", "hints/reader:v0", "one", "two", "three")
    link, calls = connect(current()), Counter[str]()
    monkeypatch.setattr(link, "artifacts", CountedStub(link.artifacts, calls))
    done = run_command("alias", "rm", "hints/reader", "one", "two", "three")
    assert done.returncode == 0, done.stderr
    assert calls["ListModelArtifactVersions"] == 1


def test_wrong_usage_is_answered_with_the_right_form(logged: Path) -> None:
    done = run_command("login", "my_key")
    assert (done.returncode, "give --host too" in done.stderr) == (2, True)
    assert "write it after the name, NAME:v0 ALIAS" in refused(1, "alias", "set", "Hinted:prod", "v0")


def test_a_version_that_is_linked_says_how_to_unlink_it(logged: Path) -> None:
    assert "`modelyard model rm MODEL:vN` unlinks it" in refused(1, "artifact", "rm", "hints/reader:v0")


def test_tables_of_several_kinds_are_printed_separately(logged: Path) -> None:
    head = [line.split("  ")[0] for line in run_command("ls").stdout.split("\n\n")]
    assert head == ["ARTIFACT", "REGISTERED MODEL"]


def test_errors_of_the_sdk_suggest_close_names(logged: Path) -> None:
    run = modelyard.init(project="hints")
    with pytest.raises(errors.NotFound, match="did you mean 'best'") as caught:
        run.use_model("reader:bset")
    assert caught.value.metadata["missing"] == "version"
    assert "model-registry" not in str(caught.value)
    with pytest.raises(errors.NotFound, match="did you mean 'reader'"):
        modelyard.Api().artifact_collection("model", "hints/raeder")
    with pytest.raises(errors.NotFound, match="run 'local/hints/none' was not found"):
        modelyard.Api().run("hints/none")
