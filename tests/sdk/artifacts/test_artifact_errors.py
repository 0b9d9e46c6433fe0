"""The classes of error that scripts catch, one case for each rule about artifacts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Api, Artifact, errors
from modelyard.runs.run import Run

ONLY_LOGGED = (
    "id", "version", "entity", "project", "qualified_name", "digest", "commit_hash", "created_at",
    "updated_at", "history_step", "url", "source_name", "source_version", "source_project", "source_entity",
    "source_qualified_name", "collection", "source_collection", "linked_artifacts",
)  # fmt: skip
CALLS: dict[str, Callable[[Artifact], object]] = {
    "download": lambda artifact: artifact.download(),
    "file": lambda artifact: artifact.file(),
    "files": lambda artifact: artifact.files(),
    "verify": lambda artifact: artifact.verify(),
    "get_path": lambda artifact: artifact.get_path("a"),
    "wait": lambda artifact: artifact.wait(),
    "unlink": lambda artifact: artifact.unlink(),
    "delete": lambda artifact: artifact.delete(),
    "logged_by": lambda artifact: artifact.logged_by(),
    "used_by": lambda artifact: artifact.used_by(),
    "new_draft": lambda artifact: artifact.new_draft(),
    "lineage": lambda artifact: artifact.lineage(),
}
CHANGES: dict[str, Callable[[Artifact], object]] = {
    "add_file": lambda artifact: artifact.add_file("a.txt", "b.txt"),
    "add_dir": lambda artifact: artifact.add_dir("."),
    "new_file": lambda artifact: artifact.new_file("b.txt").__enter__(),
    "add_reference": lambda artifact: artifact.add_reference("file:///etc/hostname"),
    "remove": lambda artifact: artifact.remove("a.txt"),
}


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in a project of its own; `a.txt` lies in the folder of the test."""
    (embedded / "a.txt").write_text("a")
    return modelyard.init(project=request.node.name.partition("[")[0][:100])


@pytest.mark.parametrize("member", ONLY_LOGGED)
def test_a_draft_lacks_what_only_a_version_has(member: str) -> None:
    with pytest.raises(errors.ArtifactNotLoggedError, match=member) as caught:
        getattr(Artifact("draft", "dataset"), member)
    assert isinstance(caught.value, errors.ArtifactStatusError)
    assert isinstance(caught.value, AttributeError)
    assert not hasattr(Artifact("draft", "dataset"), member)


@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_draft_cannot_do_what_only_a_version_can(call: str) -> None:
    with pytest.raises(errors.ArtifactNotLoggedError, match=call):
        CALLS[call](Artifact("draft", "dataset"))


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_the_content_of_a_version_is_frozen(run: Run, change: str) -> None:
    logged = run.log_artifact("a.txt", name="frozen", type="dataset")
    with pytest.raises(errors.ArtifactFinalizedError, match="frozen") as caught:
        CHANGES[change](logged)
    assert isinstance(caught.value, errors.ArtifactStatusError)


def _anything(value: Any) -> Any:
    """A value that no type checker lets through."""
    return value


def _with_metadata(metadata: object) -> Artifact:
    return Artifact("a", "t", metadata=_anything(metadata))


Case = tuple[type[BaseException], str, Callable[[Run], object]]
CASES: dict[str, Case] = {
    "name": (ValueError, "Artifact name may only contain", lambda run: Artifact("a b", "t")),
    "name of log_model": (ValueError, "Invalid name", lambda run: run.log_model("a.txt", name="a/b")),
    "alias with a slash": (ValueError, "alias", lambda run: run.log_model("a.txt", aliases=["a/b"])),
    "alias with a colon": (ValueError, "alias", lambda run: run.log_model("a.txt", aliases=["a:b"])),
    "alias like a version": (ValueError, "version number", lambda run: run.log_model("a.txt", aliases="v1")),
    "tag": (ValueError, "tag", lambda run: run.log_artifact("a.txt", name="m", tags=["a/b"])),
    "metadata no dict": (TypeError, "dict", lambda run: _with_metadata([1])),
    "metadata infinite": (ValueError, "infinities", lambda run: _with_metadata({"x": float("inf")})),
    "metadata too wide": (
        ValueError, "100 keys", lambda run: _with_metadata(dict.fromkeys(map(str, range(101)))),
    ),
    "no such path": (ValueError, "path must be a file, directory", lambda run: run.log_artifact("nowhere")),
    "no path at all": (TypeError, "path", lambda run: run.log_artifact(_anything(3))),
    "another type": (ValueError, "type", lambda run: run.log_artifact("a.txt", name="kept", type="other")),
    "a model of another type": (AssertionError, "dataset", lambda run: run.log_model("a.txt", name="kept")),
    "use of no model": (AssertionError, "dataset", lambda run: run.use_model("kept")),
    "use of another type": (ValueError, "dataset", lambda run: run.use_artifact("kept", type="model")),
    "unknown name": (errors.NotFound, "nothing", lambda run: run.use_artifact("nothing:v0")),
    "unknown alias": (errors.NotFound, "kept:nothing", lambda run: run.use_artifact("kept:nothing")),
    "path in a model's name": (
        AssertionError, "only the name of the registered model", lambda run: run.link_model("a.txt", "p/m"),
    ),
    "model's name": (ValueError, "Invalid name", lambda run: run.link_model("a.txt", "a:b")),
    "target with a version": (ValueError, "target", lambda run: run.use_artifact("kept").link("m:v0")),
    "unlinking a source": (ValueError, "not a link", lambda run: run.use_artifact("kept").unlink()),
    "deleting latest": (errors.VersionHasAliases, "latest", lambda run: run.use_artifact("kept").delete()),
    "path that climbs": (ValueError, "relative", lambda run: Artifact("a", "t").add_file("a.txt", "../a")),
    "folder that is none": (ValueError, "not a folder", lambda run: Artifact("a", "t").add_dir("a.txt")),
    "file that is none": (ValueError, "not a file", lambda run: Artifact("a", "t").add_file("nowhere")),
    "path not there": (FileNotFoundError, "No such file", lambda run: Artifact("a", "t").remove("a.txt")),
    "reference without a scheme": (ValueError, "scheme", lambda run: Artifact("a", "t").add_reference("a/b")),
    "type of nothing": (ValueError, "type", lambda run: Artifact("a", "")),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_errors_are_of_the_class_that_scripts_catch(run: Run, case: str) -> None:
    run.log_artifact("a.txt", name="kept", type="dataset")
    kind, words, call = CASES[case]
    with pytest.raises(kind, match=words):
        call(run)


def test_what_the_server_refuses_for_an_argument_is_a_value_error_too(run: Run) -> None:
    for refused in (errors.NotFound, errors.InvalidField, errors.TypeMismatch, errors.AlreadyExists):
        assert issubclass(refused, errors.CommError)
        assert issubclass(refused, ValueError)
    with pytest.raises(ValueError, match="nowhere"):
        Api().artifact("nowhere/nothing:v9")
    with pytest.raises(errors.CommError, match="nowhere"):
        Api().artifact("nowhere/nothing:v9")


def test_calls_after_finish_or_without_init_raise_errors(run: Run) -> None:
    run.finish()
    with pytest.raises(errors.UsageError, match="finished"):
        run.log_artifact("a.txt")
    with pytest.raises(errors.Error, match=r"You must call modelyard\.init"):
        modelyard.log_artifact(Artifact("a", "t"))
