"""`mode="disabled"`: a script goes on to its end, whatever it calls and whatever its machine lacks."""

from __future__ import annotations

import datetime
import inspect
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Artifact
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.registry.collection import RegisteredModel
from modelyard.runs.run import Run
from tests.parts.embedded import isolate
from tests.parts.processes import MODES_HOLD

WORDS: dict[str, Any] = {
    "local_path": "a.txt", "add_dir.local_path": ".", "path": "nowhere",
    "artifact_or_path": "nowhere", "artifact_or_name": "d:v3",
    "artifact": Artifact("given", "model"), "registered_model_name": "M", "target_path": "entity/registry/M",
    "uri": "scheme://host/b", "item": "a.txt", "glob_str": "*.txt", "data": {"loss": 0.5}, "name": "n",
    "title": "t", "text": "t", "alias": "best", "version": "v3", "expected": "v1", "time": "2026-01-01",
    "new_type": "dataset", "obj": modelyard.Html("<p>"),
}  # fmt: skip
"""What each argument gets that a call cannot do without."""
MAKERS: dict[str, Callable[[Run], Any]] = {
    "log_artifact": lambda run: run.log_artifact(Artifact("m", "model")),
    "log_artifact of a path": lambda run: run.log_artifact("nowhere", "m", "model", aliases=["best"]),
    "use_artifact": lambda run: run.use_artifact("entity/project/d:production", type="dataset"),
    "use_artifact of a draft": lambda run: run.use_artifact(Artifact("m", "model")),
    "link_model": lambda run: run.link_model("nowhere", "A model with spaces"),
    "link_artifact": lambda run: run.link_artifact(Artifact("m", "model"), "registry/M"),
    "upsert_artifact": lambda run: run.upsert_artifact("nowhere", "m", "model", distributed_id="x"),
    "finish_artifact": lambda run: run.finish_artifact("nowhere", "m", "model", distributed_id="x"),
    "log_code": lambda run: run.log_code("/nowhere"),
    "link": lambda run: run.log_artifact(Artifact("m", "model")).link("M"),
    "new_draft": lambda run: run.use_artifact("m").new_draft(),
    "saved draft": lambda run: _saved(Artifact("m", "model")),
    "linked draft": lambda run: Artifact("m", "model").link("M"),
}


def _saved(draft: Artifact) -> Artifact:
    draft.save()
    return draft


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A disabled run where no server answers and nothing was kept by `login`."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", "grpc://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("a")
    yield modelyard.init(mode="disabled", project="p", entity="e")
    modelyard.finish()


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_") and name != "finish"]


def use(thing: Any, member: str, kind: type) -> Any:
    """Reads a member; a method is called with the arguments that it cannot do without as `kind` has it."""
    found = getattr(thing, member)
    if not callable(found) or isinstance(found, type):
        return found
    needed = [
        WORDS.get(f"{member}.{name}", WORDS.get(name))
        for name, parameter in inspect.signature(getattr(kind, member, found)).parameters.items()
        if name != "self" and parameter.default is parameter.empty and parameter.kind.name[:4] != "VAR_"
    ]
    return found(*needed)


@pytest.mark.parametrize("member", public(Run))
def test_every_member_of_a_run_is_accepted(run: Run, member: str) -> None:
    use(run, member, Run)


@pytest.mark.parametrize("member", public(Artifact))
@pytest.mark.parametrize("maker", sorted(MAKERS))
def test_every_member_of_what_it_returns_is_accepted(run: Run, maker: str, member: str) -> None:
    artifact = MAKERS[maker](run)
    assert isinstance(artifact, Artifact)
    use(artifact, member, Artifact)


@pytest.mark.parametrize("member", sorted({*public(RegisteredModel)} - {"name"}))
def test_every_member_of_a_collection_is_accepted(run: Run, member: str) -> None:
    use(run.use_artifact("m").collection, member, RegisteredModel)


@pytest.mark.parametrize("member", sorted({*public(ArtifactEntry)} - {"ref_target"}))
def test_every_member_of_an_entry_is_accepted(run: Run, member: str) -> None:
    for entry in (run.use_artifact("m").get_path("model.bin"), run.use_artifact("m").get_entry("x")):
        use(entry, member, ArtifactEntry)


def test_what_it_returns_looks_like_a_version(run: Run) -> None:
    draft = Artifact("m", "model", metadata={"acc": 0.9})
    draft.ttl = datetime.timedelta(days=3)
    logged = run.log_artifact(draft, aliases=["best"])
    assert logged is draft
    assert logged.wait() is draft
    assert (logged.name, logged.version, logged.state, logged.is_draft()) == (
        "m:v0",
        "v0",
        "COMMITTED",
        False,
    )
    assert logged.aliases == ["best", "latest"]
    assert (logged.entity, logged.project, logged.metadata) == ("e", "p", {"acc": 0.9})
    assert logged.ttl == datetime.timedelta(days=3)
    logged.aliases.append("other")
    logged.metadata["acc"] = 1.0
    logged.save()
    assert run.use_artifact("team/project/bert:v3", type="model").name == "bert:v0"


def test_files_of_a_draft_can_be_downloaded_again(run: Run) -> None:
    draft = Artifact("m", "model")
    draft.add_file("a.txt", "weights/a.txt")
    with draft.new_file("notes.txt") as file:
        file.write("n")
    logged = run.log_artifact(draft)
    assert [entry.path for entry in logged.files()] == ["notes.txt", "weights/a.txt"]
    assert Path(logged.download(), "weights", "a.txt").read_text() == "a"
    assert Path(logged.get_path("notes.txt").download("here")).read_text() == "n"
    assert not Path("artifacts").exists()


def test_use_model_returns_a_folder_outside_of_the_working_folder(run: Run) -> None:
    for name in ("bert", "team/project/bert:latest"):
        place = Path(run.use_model(name))
        assert place.is_dir()
        assert not place.is_relative_to(Path.cwd())


SCRIPT = """
import modelyard
modelyard.login()
with modelyard.init(project="p", config={"lr": 0.1}) as run:
    run.log({"loss": 1})
    assert run.summary["loss"] == 1 and run.config.lr == 0.1
    artifact = modelyard.Artifact("m", "model")
    run.log_artifact(artifact).wait().download()
    run.log_model("nowhere", "m"), run.link_model("nowhere", "M").wait()
    print(run.use_model("m"), run.dir)
print("end")
"""


def _script(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "PATH": os.environ["PATH"], "HOME": str(folder / "home"), "MODELYARD_MODE": "disabled", **environment
    }  # fmt: skip
    return subprocess.run(
        [*MODES_HOLD, sys.executable, "-c", SCRIPT],
        cwd=folder, env=settings, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_damaged_credentials_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_bytes(b"\xff{")
    done = _script(tmp_path, MODELYARD_CONFIG_DIR=str(tmp_path))
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["end"]), done.stderr


def test_a_server_that_cannot_be_reached_or_named_does_not_stop_it(tmp_path: Path) -> None:
    for url in ("grpc://127.0.0.1:9", "nonsense://", "grpcs://nowhere.invalid:443"):
        done = _script(tmp_path, MODELYARD_URL=url, MODELYARD_API_KEY="bad\nkey")
        assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["end"]), done.stderr


def test_folders_that_cannot_be_written_do_not_stop_it(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "home").mkdir(parents=True)
    for folder in (work / "home", work):
        folder.chmod(0o555)
    done = _script(work)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["end"]), done.stderr
    assert [path.name for path in work.rglob("*")] == ["home"]


def test_it_leaves_no_folder_behind(tmp_path: Path) -> None:
    done = _script(tmp_path)
    places = done.stdout.splitlines()[0].split()
    assert len(places) == 2, done.stdout
    assert not any(Path(place).exists() for place in places)
