"""Versions that several runs make together, and the code of a run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import modelyard
from modelyard import Api, Artifact, errors
from modelyard.runs.run import Run
from tests.sdk.artifacts.test_artifact_versions import contents, draft


@pytest.fixture
def run(work: Path) -> Run:
    """A run in a project of its own, in a group."""
    return modelyard.init(group="train")


def test_several_writers_make_one_version(run: Run, work: Path) -> None:
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            part = draft("shards", {f"shard-{number}.txt": str(number), "shared.txt": "same"})
            run.upsert_artifact(part, distributed_id="all")
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert not Api().artifact_exists("shards")
    made = run.finish_artifact(Artifact("shards", "dataset"), aliases=["whole"], distributed_id="all")
    assert made.name == "shards:v0"
    assert sorted(made.aliases) == ["latest", "whole"]
    expected = {f"shard-{number}.txt": str(number) for number in range(5)} | {"shared.txt": "same"}
    assert contents(made, work) == expected
    assert [found.name for found in Api().artifact_collections(run.project, "dataset")] == ["shards"]
    maker = made.logged_by()
    assert maker is not None
    assert maker.id == run.id


def test_upsert_without_a_distributed_id_uses_the_group(run: Run, work: Path) -> None:
    (work / "part").mkdir()
    (work / "part" / "a.txt").write_text("a")
    run.upsert_artifact("part", name="grouped", type="dataset")
    last = draft("grouped", {"b.txt": "b"})
    assert run.finish_artifact(last) is last
    assert contents(last, work) == {"a.txt": "a", "b.txt": "b"}
    second = run.finish_artifact(draft("grouped", {"b.txt": "b"}))
    assert sorted(second.manifest.entries) == ["b.txt"]


def test_writers_need_a_group_or_a_distributed_id(work: Path) -> None:
    with modelyard.init() as alone:
        with pytest.raises(TypeError, match="distributed_id"):
            alone.upsert_artifact(draft("data", {"a": "1"}))
        logged = alone.log_artifact(draft("data", {"a": "1"}))
        with pytest.raises(errors.ArtifactFinalizedError):
            alone.upsert_artifact(logged, distributed_id="x")
        with pytest.raises(errors.UsageError, match="be based on another"):
            alone.finish_artifact(logged.new_draft(), distributed_id="x")


def test_log_code_keeps_the_python_files(run: Run, work: Path) -> None:
    assert run.log_code() is None
    for path in ("train.py", "pkg/model.py", ".venv/lib/x.py", "artifacts/old.py", "notes.txt"):
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(path)
    code = run.log_code()
    assert code is not None
    assert code.type == "code"
    assert sorted(code.manifest.entries) == ["pkg/model.py", "train.py"]
    chosen = run.log_code(".", name="texts", include_fn=lambda path, root: Path(path).suffix == ".txt")
    assert chosen is not None
    assert (chosen.name, sorted(chosen.manifest.entries)) == ("texts:v0", ["notes.txt"])
    rest = run.log_code(name="rest", exclude_fn=lambda path: "pkg" in Path(path).parts)
    assert rest is not None
    assert "train.py" in rest.manifest.entries
    assert "pkg/model.py" not in rest.manifest.entries
    with pytest.raises(ValueError, match="not a folder"):
        run.log_code("nowhere")
