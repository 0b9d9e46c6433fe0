"""Arguments of a wrong type are refused by name where they are passed, and leave nothing behind."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Api, Artifact, Settings
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.public_runs.files import PublicFile
from modelyard.public_runs.public_run import PublicRun
from modelyard.public_runs.runs import Runs
from modelyard.registry.artifact_type import ArtifactType
from modelyard.registry.collection import ArtifactCollection, RegisteredModel
from modelyard.registry.registry import Collections, Registries, Registry
from modelyard.runs.run import Run

CLASSES = (
    Artifact, ArtifactEntry, Run, Api, ArtifactType, ArtifactCollection,
    RegisteredModel, PublicRun, PublicFile, Runs, Registry, Registries, Collections,
)  # fmt: skip
BY_HAND = {
    "Run.__init__", "Run.log", "ArtifactType.__init__", "ArtifactCollection.__init__", "PublicRun.__init__",
    "Registry.__init__", "Registries.__init__", "Collections.__init__", "ArtifactEntry.__init__",
    "PublicFile.__init__", "Runs.__init__",
}  # fmt: skip
"""Constructors that users do not call, and `log`, whose checks `tests/sdk/runs/test_run.py` shows."""
FREE = {"bool", "bool | None", "Any"}
CHECKED_INSIDE = {
    "add_file.is_tmp", "remove.item", "watch.models", "unwatch.models", "log_code.include_fn",
    "log_code.exclude_fn", "ttl.ttl", "alias_at.time", "aliases_at.time", "init.settings",
    "alert.wait_duration", "save.settings",
}  # fmt: skip
"""Arguments that may be of kinds which annotations of text, lists and paths do not cover."""


def every_argument() -> Iterator[tuple[Callable[..., Any], str]]:
    """The functions that users call, each with the name of one argument."""
    functions = [modelyard.init, modelyard.finish, modelyard.login]
    for kind in CLASSES:
        for name, member in vars(kind).items():
            setter = member.fset if isinstance(member, property) else None
            function = setter or member
            if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
                functions.append(function)
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            free = parameter.annotation in FREE or f"{function.__name__}.{name}" in CHECKED_INSIDE
            various = parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
            if function.__qualname__ not in BY_HAND and name != "self" and not free and not various:
                yield function, name


ARGUMENTS = sorted(every_argument(), key=lambda each: (each[0].__qualname__, each[1]))


@pytest.mark.parametrize(
    ("function", "name"), ARGUMENTS, ids=[f"{call.__qualname__}-{name}" for call, name in ARGUMENTS]
)
def test_an_argument_of_the_wrong_kind_is_named(function: Callable[..., Any], name: str) -> None:
    bound = ("self" in inspect.signature(function).parameters) * (None,)
    with pytest.raises(TypeError, match=rf": {name} must be .*, not object$"):
        function(*bound, **{name: object()})


WRONG: dict[str, Callable[[Run], object]] = {
    r"log_model: aliases\[1\]": lambda run: run.log_model("a.txt", "m", aliases=["ok", _any(5)]),
    r"log_model: path": lambda run: run.log_model(_any(b"a.txt"), "m"),
    r"log_artifact: tags\[0\]": lambda run: run.log_artifact("a.txt", "m", tags=_any((b"x",))),
    r"log_artifact: type": lambda run: run.log_artifact("a.txt", "m", type=_any(3)),
    r"Artifact: type": lambda run: Artifact("m", _any(None)),
    r"Artifact: name": lambda run: Artifact(_any(5), "model"),
    r"Artifact: metadata": lambda run: Artifact("m", "model", metadata=_any([1])),
    r"Artifact: description": lambda run: Artifact("m", "model", description=_any(1)),
    r"description: description": lambda run: setattr(Artifact("m", "model"), "description", 5),
    r"aliases: aliases\[0\]": lambda run: setattr(Artifact("m", "model"), "aliases", [5]),
    r"tags: tags": lambda run: setattr(Artifact("m", "model"), "tags", 5),
    r"link_artifact: artifact": lambda run: run.link_artifact(_any("m:v0"), "M"),
    r"link_model: registered_model_name": lambda run: run.link_model("a.txt", _any(None)),
    r"use_model: name": lambda run: run.use_model(_any(Path("m"))),
    r"use_artifact: artifact_or_name": lambda run: run.use_artifact(_any(3)),
    r"name: name": lambda run: setattr(run, "name", 7),
    r"tags: tags\[0\]": lambda run: setattr(run, "tags", [7]),
    r"init: tags\[0\]": lambda run: modelyard.init(tags=[_any(5)]),
    r"init: project": lambda run: modelyard.init(project=_any(5)),
    r"settings: run_id": lambda run: Settings(run_id=_any([])),
    r"init: group": lambda run: modelyard.init(group=_any([3])),
    r"settings: run_tags": lambda run: Settings(run_tags=[5]),
    r"artifact: name": lambda run: Api().artifact(_any(None)),
    r"runs: per_page": lambda run: Api().runs("p", per_page=_any("5")),
    r"create_registered_model: tags": lambda run: Api().create_registered_model("M", tags=_any(5)),
}


@pytest.mark.parametrize("sentence", sorted(WRONG))
def test_a_call_with_a_wrong_argument_says_which(embedded: Path, sentence: str) -> None:
    (embedded / "a.txt").write_text("a")
    with modelyard.init(project="kinds") as run, pytest.raises(TypeError, match=sentence):
        WRONG[sentence](run)


def test_a_wrong_argument_leaves_nothing_logged(embedded: Path) -> None:
    (embedded / "a.txt").write_text("a")
    with modelyard.init(project="kinds-left") as run:
        for call in (
            lambda: run.log_model("a.txt", "m", aliases=[_any(5)]),
            lambda: run.link_model("a.txt", "M", "m", aliases=_any(5)),
            lambda: run.log_artifact("a.txt", "m", "model", tags=_any([None])),
        ):
            with pytest.raises(TypeError):
                call()
    assert not Api().artifact_collection_exists("kinds-left/m", "model")


def test_arguments_of_the_right_kind_are_accepted(embedded: Path) -> None:
    (embedded / "a.txt").write_text("a")
    with modelyard.init(project="kinds-right", tags=("a", "b"), reinit=True) as run:
        run.tags = iter(["x"])
        assert run.tags == ("x",)
        run.log_model(embedded / "a.txt", "m", aliases=(each for each in ["best"]))
        found = run.use_artifact("m:best")
        assert [entry.path for entry in found.files("a.txt")] == ["a.txt"]


def test_no_path_is_not_the_working_folder(embedded: Path) -> None:
    (embedded / "secret.txt").write_text("s")
    with modelyard.init(project="kinds-empty") as run, pytest.raises(ValueError, match="path must be a file"):
        run.log_model("", "m")


OPTIMISED = """
import modelyard
with modelyard.init(project="optimised") as run:
    open("a.txt", "w").close()
    run.log_artifact("a.txt", name="data", type="dataset")
    for call in (
        lambda: run.log_model("a.txt", name="data"),
        lambda: run.use_model("data"),
        lambda: run.link_model("a.txt", "entity/model"),
    ):
        try:
            call()
        except AssertionError as error:
            print("refused:", error)
        else:
            print("accepted")
"""


def test_arguments_are_checked_under_python_o(embedded: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-c", OPTIMISED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["refused"] * 3, lines


def test_no_input_is_checked_by_a_statement_that_can_be_left_out() -> None:
    root = Path(modelyard.__file__).parent
    for path in [*root.rglob("*.py"), *(root.parents[2] / "server").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            # An assertion with a sentence is one that somebody is meant to read.
            assert not (isinstance(node, ast.Assert) and node.msg), (path, node.lineno)


def test_values_set_on_a_found_run_are_checked_before_they_are_sent(embedded: Path) -> None:
    with modelyard.init(project="kinds-found") as run:
        pass
    for field, value in (("name", 5), ("notes", None), ("tags", [3])):
        found = Api().run(run.path)
        setattr(found, field, value)
        with pytest.raises(TypeError, match=f"update: {field}"):
            found.update()


def _any(value: object) -> Any:
    """A value that no type checker lets through."""
    return value


def test_numbers_are_taken_as_names_of_runs(embedded: Path) -> None:
    with modelyard.init(id=77, name=5, group=3, job_type=1, notes=1.5) as run:
        assert (run.id, run.name, run.group, run.job_type, run.notes) == ("77", "5", "3", "1", "1.5")
        epoch = run.define_metric("epoch")
        assert run.define_metric("loss", step_metric=epoch).step_metric == "epoch"
        run.alert("failed", text=ValueError("x"))
        Path("w.txt").write_text("w")
        assert run.save("w.txt", base_path=Path())
