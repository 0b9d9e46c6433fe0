"""Members of W&B's `Artifact`, and what its errors say."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

import modelyard as wandb
from modelyard.runs.run import Run


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in a project of its own for each test; ended by `embedded`."""
    return wandb.init(project=request.node.name.partition("[")[0][:100])


def _draft(name: str = "m", type: str = "model", **files: str) -> wandb.Artifact:
    artifact = wandb.Artifact(name, type)
    for path, text in files.items():
        with artifact.new_file(path) as file:
            file.write(text)
    return artifact


def test_a_draft_without_a_run_is_saved_by_one_of_its_own(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = _draft("alone", a="1")
    artifact.save(project="saved-without-a-run")
    assert wandb.run is None
    assert artifact.qualified_name == "local/saved-without-a-run/alone:v0"
    assert capsys.readouterr().err == ""
    producer = artifact.logged_by()
    assert producer is not None
    assert (producer.job_type, producer.state) == ("auto", "finished")
    _draft("alone", a="2").save("saved-without-a-run", settings={"run_group": "g"})
    assert "Started run" in capsys.readouterr().err
    linked = _draft("linked", a="1").link("model-registry/Saved without a run")
    assert linked.source_project == "uncategorized"


def test_a_draft_is_saved_by_the_newest_run_where_none_is_the_modules(embedded: Path) -> None:
    run = wandb.init(project="p", reinit="create_new")
    artifact = _draft("of-a-second-run", a="1")
    artifact.save()
    producer = artifact.logged_by()
    assert producer is not None
    assert producer.id == run.id
    run.finish()


def test_the_source_of_a_link_is_the_version_itself(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"), aliases=["best"])
    assert artifact.source_artifact is artifact
    assert artifact.linked_at is None
    link = artifact.link(f"model-registry/S {run.id}", aliases=["staging"])
    source = link.source_artifact
    assert (source.qualified_name, source.is_link) == (artifact.qualified_name, False)
    assert set(source.aliases) == {"best", "latest"}
    assert datetime.datetime.fromisoformat(str(link.linked_at)).tzinfo is not None


def test_the_manifest_counts_and_takes_entries(run: Run) -> None:
    first = _draft(a="1", b="2")
    assert len(first.manifest) == 2
    run.log_artifact(first)
    assert (len(first.manifest), first.manifest.size()) == (2, 2)
    assert [entry.path for entry in first.manifest.get_entries_in_directory("c")] == []
    second = _draft("second", a="other")
    entry = first.manifest.entries["b"]
    second.manifest.add_entry(entry)
    with pytest.raises(ValueError, match="'a'"):
        second.manifest.add_entry(first.manifest.entries["a"])
    second.manifest.add_entry(first.manifest.entries["a"], overwrite=True)
    second.add_reference(first.get_entry("b"), "copies/b")
    run.log_artifact(second)
    folder = Path(second.download())
    assert {path: (folder / path).read_text() for path in second.manifest} == {
        "a": "1", "b": "2", "copies/b": "2",
    }  # fmt: skip
    with pytest.raises(wandb.errors.ArtifactFinalizedError):
        second.manifest.add_entry(entry)


def test_entries_of_references_can_be_taken_and_replaced(run: Run) -> None:
    Path("one.txt").write_text("one")
    first = wandb.Artifact("first", "dataset")
    first.add_reference(Path("one.txt").absolute().as_uri())
    run.log_artifact(first)
    second = _draft("second", "dataset", **{"one.txt": "a file"})
    second.manifest.add_entry(first.manifest.entries["one.txt"], overwrite=True)
    run.log_artifact(second)
    assert second.get_entry("one.txt").ref == Path("one.txt").absolute().as_uri()
    third = second.new_draft()
    third.manifest.remove_entry(third.manifest.entries["one.txt"])
    assert len(third.manifest) == 0
    with pytest.raises(FileNotFoundError):
        third.manifest.remove_entry(second.manifest.entries["one.txt"])


def test_a_local_file_is_found_by_where_it_came_from(run: Run, embedded: Path) -> None:
    Path("data/deep").mkdir(parents=True)
    Path("data/deep/x.txt").write_text("x")
    artifact = wandb.Artifact("m", "dataset")
    artifact.add_dir("data", name="inner")
    artifact.add_file("data/deep/x.txt", name="again.txt")
    assert artifact.get_added_local_path_name("data/deep/x.txt") == "again.txt"
    assert artifact.get_added_local_path_name(str(embedded / "data/deep/x.txt")) == "again.txt"
    assert artifact.get_added_local_path_name("other.txt") is None


def test_a_final_draft_takes_no_more_files(run: Run) -> None:
    artifact = _draft(a="1")
    artifact.finalize()
    Path("b").write_text("b")
    for change in (
        lambda: artifact.add_file("b"),
        lambda: artifact.remove("a"),
        lambda: artifact.add_dir("."),
    ):
        with pytest.raises(wandb.errors.ArtifactFinalizedError, match=r"finalize"):
            change()
    run.log_artifact(artifact)
    assert list(artifact.manifest) == ["a"]


def test_checkout_leaves_the_files_of_the_version_alone(run: Run, embedded: Path) -> None:
    artifact = run.log_artifact(_draft(**{"a": "1", "deep/b": "2"}))
    folder = Path(artifact.checkout())
    assert folder == embedded / "artifacts" / "m"
    (folder / "other").mkdir()
    (folder / "other" / "stranger").write_text("s")
    (folder / "a").write_text("changed")
    outside = embedded / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (folder / "link").symlink_to(outside)
    (folder / "deep" / "b").unlink()
    (folder / "deep").rmdir()
    (folder / "deep").symlink_to(outside)
    assert artifact.checkout(str(folder)) == str(folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == {
        "a",
        "deep",
        "deep/b",
        "other",
    }
    assert (folder / "a").read_text() == "1"
    assert [path.name for path in outside.iterdir()] == ["kept"]


def test_the_json_of_an_artifact_names_its_version(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    found = artifact.json_encode()
    assert (found["_type"], found["id"], found["version"]) == ("artifactVersion", artifact.id, "v0")
    assert found["sequenceName"] == "m"


def test_the_step_of_a_version_is_the_newest_that_was_logged(run: Run) -> None:
    assert run.log_artifact(_draft("before", a="1")).history_step is None
    for _ in range(3):
        run.log({"loss": 1})
    assert run.log_artifact(_draft("after", a="1")).history_step == 2


def test_download_accepts_multipart(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    assert (Path(artifact.download(multipart=True)) / "a").read_text() == "1"


def use(artifact: wandb.Artifact, member: str) -> None:
    """Reads a member, and calls it if it is a method."""
    found = getattr(artifact, member)
    found()


def test_errors_name_the_member_as_scripts_expect(run: Run) -> None:
    draft = _draft(a="1")
    for member in ("version", "json_encode", "wait", "download", "checkout", "linked_at"):
        with pytest.raises(
            wandb.errors.ArtifactNotLoggedError,
            match=rf"^'Artifact\.{member}' used prior to logging artifact",
        ) as caught:
            use(draft, member)
        assert (caught.value.name, caught.value.obj) == (member, draft)
    logged = run.log_artifact(draft)
    with (
        pytest.raises(
            wandb.errors.ArtifactFinalizedError, match=r"^'Artifact\.new_file' used on logged artifact"
        ),
        logged.new_file("b"),
    ):
        pass


def test_errors_of_tags_say_invalid_tag(run: Run) -> None:
    for tag in ("!", "a/b", ""):
        draft = _draft(a="1")
        with pytest.raises(ValueError, match="Invalid tag"):
            draft.tags = [tag]
        with pytest.raises(ValueError, match="Invalid tag"):
            run.log_artifact(draft, tags=[tag])


def test_bytes_in_metadata_become_text(run: Run) -> None:
    metadata = {"b": b"x", "n": {"k": [b"\xff\x00"]}, b"key": bytearray(b"q")}
    artifact = wandb.Artifact("m", "model", metadata=metadata)  # type: ignore[arg-type]
    expected = {"b": "x", "n": {"k": ["\\xff\\x00"]}, "key": "q"}
    assert artifact.metadata == expected
    run.log_artifact(artifact)
    assert wandb.Api().artifact(artifact.qualified_name).metadata == expected


def test_runs_make_a_version_together_by_the_id_of_the_artifact(run: Run) -> None:
    part = _draft("parts", a="1")
    part.distributed_id = "all"
    run.upsert_artifact(part)
    last = _draft("parts", b="2")
    last.distributed_id = "all"
    assert set(run.finish_artifact(last).manifest) == {"a", "b"}
