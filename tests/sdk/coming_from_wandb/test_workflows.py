"""Workflows of models and artifacts whose behaviour scripts for W&B rely on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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


def _api(run: Run) -> wandb.Api:
    return wandb.Api({"entity": run.entity, "project": run.project})


# Drafts.


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_that_changed_is_added_again_only_to_overwrite(embedded: Path, overwrite: bool) -> None:
    artifact, path = wandb.Artifact("a", "dataset"), Path("file.txt")
    path.write_text("hello")
    artifact.add_file(str(path))
    artifact.add_file(path)
    path.write_text("changed")
    if overwrite:
        artifact.add_file(path, overwrite=True)
    else:
        with pytest.raises(ValueError, match=r"file\.txt"):
            artifact.add_file(path)
    assert len(artifact.manifest) == 1


@pytest.mark.parametrize("merge", [True, False])
def test_a_folder_that_changed_is_added_again_only_to_merge(embedded: Path, merge: bool) -> None:
    folder = Path("folder")
    folder.mkdir()
    (folder / "one").write_text("1")
    (folder / "two").write_text("2")
    artifact = wandb.Artifact("a", "dataset")
    artifact.add_dir(str(folder))
    (folder / "one").write_text("changed")
    if merge:
        artifact.add_dir(folder, merge=True)
    else:
        with pytest.raises(ValueError, match="one"):
            artifact.add_dir(folder)
    (folder / "one").unlink()
    artifact.add_dir(folder, merge=merge)
    assert sorted(artifact.manifest) == ["one", "two"]


def test_threads_may_add_the_same_file(embedded: Path) -> None:
    Path("data.bin").write_bytes(bytes(1 << 22))
    artifact = wandb.Artifact("a", "dataset")
    with ThreadPoolExecutor(8) as pool:
        added = [pool.submit(artifact.add_file, "data.bin", "deep/data.bin") for _ in range(8)]
        assert {one.result().size for one in added} == {1 << 22}
    assert len(artifact.manifest) == 1
    artifact.remove("deep/data.bin")
    artifact.add_file("data.bin", "deep")
    assert list(artifact.manifest) == ["deep"]


# Logging.


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_logged_under_a_name_of_its_own(run: Run, kind: Callable[[Path], Any]) -> None:
    folder = Path("folder")
    folder.mkdir()
    (folder / "x").write_text("x")
    for path in (folder, folder / "x"):
        logged = run.log_artifact(kind(path))
        assert logged.wait().name == f"run-{run.id}-{path.name}:v0"
    logged = run.log_artifact(folder.absolute().as_uri())
    assert (logged.name, logged.type) == (f"run-{run.id}-folder:v1", "unspecified")


@pytest.mark.parametrize("name", ["x" * 129, "my/artifact", "a:b", ""])
def test_a_bad_name_logs_nothing(run: Run, name: str) -> None:
    Path("f").write_text("f")
    if name:
        with pytest.raises(ValueError, match="Invalid name"):
            run.log_artifact("f", name=name)
    assert list(_api(run).project(run.project).collections()) == []


@pytest.mark.parametrize("aliases", [["ok", "a:b"], ["a/b"], "a/b", ["v3"]])
def test_a_bad_alias_logs_nothing(run: Run, aliases: Any) -> None:
    with pytest.raises(ValueError, match="alias"):
        run.log_artifact(_draft(a="1"), aliases=aliases)
    assert not _api(run).artifact_exists("m")


def test_a_draft_of_a_version_is_logged_under_its_own_name_and_type(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"), aliases=["first"])
    link = run.link_artifact(artifact, "Linked", aliases=["staging"])
    draft = link.new_draft()
    assert (draft.name, draft.type, draft.aliases, draft.ttl) == ("m", "model", [], None)
    with draft.new_file("b") as file:
        file.write("2")
    assert run.log_artifact(draft).name == "m:v1"
    assert sorted(draft.manifest) == ["a", "b"]
    other = wandb.init(project=f"other-{run.id}", reinit="create_new")
    stray = artifact.new_draft()
    with stray.new_file("c") as file:
        file.write("3")
    assert other.log_artifact(stray).qualified_name == f"local/other-{run.id}/m:v0"
    assert sorted(stray.manifest) == ["a", "c"]
    other.finish()


def test_metadata_is_checked_when_it_is_sent(run: Run) -> None:
    artifact = _draft(a="1")
    artifact.metadata.update({"nan": float("nan"), "nested": {"nan": float("nan"), "text": "t"}})
    artifact.save()
    expected = {"nan": None, "nested": {"nan": None, "text": "t"}}
    assert _api(run).artifact(artifact.qualified_name).metadata == expected
    for wrong in ({"inf": float("inf")}, {str(number): 1 for number in range(101)}):
        bad = _draft("bad", a="1")
        bad.metadata.update(wrong)
        with pytest.raises(ValueError, match="metadata"):
            bad.save()


# Tags, aliases, collections.


def test_tags_are_changed_in_place_or_replaced(run: Run) -> None:
    run.log_artifact(_draft(a="1"), tags=["orig-TAG 1", "other"])
    found = _api(run).artifact("m:v0")
    found.tags[:] = [tag for tag in [*found.tags, "added"] if tag != "other"]
    found.save()
    assert sorted(_api(run).artifact("m:v0").tags) == ["added", "orig-TAG 1"]
    found.tags += ["more"]
    found.save()
    found.tags = [*found.tags, "most"]
    found.save()
    assert sorted(_api(run).artifact("m:v0").tags) == ["added", "more", "most", "orig-TAG 1"]
    with pytest.raises(ValueError, match="Invalid tag"):
        found.tags.extend(["fine", " leading"])
    assert sorted(_api(run).artifact("m:v0").tags) == ["added", "more", "most", "orig-TAG 1"]


def test_a_collection_has_the_aliases_of_its_versions(run: Run) -> None:
    first = run.log_artifact(_draft("one", a="1"), aliases=["a"])
    second = run.log_artifact(_draft("two", a="2"), aliases=["b"])
    links = [run.link_artifact(first, "All", aliases=["x"]), run.link_artifact(second, "All", aliases=["y"])]
    for link in links:
        link.aliases += ["extra"]
        link.save()
    collection = _api(run).artifact_collection("model", "All")
    assert sorted(collection.aliases) == ["extra", "latest", "x", "y"]
    assert sorted(_api(run).artifact_collection("model", "one").aliases) == ["a", "latest"]
    assert [version.version for version in collection.artifacts()] == ["v1", "v0"]
    assert all(version.is_link for version in collection.artifacts())


def test_both_collections_of_a_link_are_found_and_deleted_alone(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    link = run.link_artifact(artifact, "Linked")
    assert (link.collection.entity, link.collection.project) == (link.entity, link.project)
    assert link.name.startswith(link.collection.name)
    assert link.source_name.startswith(link.source_collection.name)
    assert link.linked_artifacts == []
    assert [each.source_artifact for each in artifact.linked_artifacts] == [artifact]
    kind = _api(run).artifact_type("model")
    kind.collection("Linked").delete()
    assert not _api(run).artifact_exists("Linked:latest")
    assert _api(run).artifact_exists("m:latest")
    kind.collection("m").delete(delete_aliases=True)
    assert not _api(run).artifact_exists("m:latest")


def test_a_source_is_not_unlinked(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    link = run.link_artifact(artifact, "Linked")
    link.unlink()
    with pytest.raises(ValueError, match=r"delete\(\)"):
        artifact.unlink()
    assert _api(run).artifact_exists(artifact.qualified_name)
    assert not _api(run).artifact_exists(link.qualified_name)


def test_used_artifacts_keep_their_project(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    with wandb.init(project=f"new-{run.id}", reinit="create_new") as other:
        other.use_artifact(artifact.qualified_name).download()
    [used] = wandb.Api().run(other.path).used_artifacts()
    assert (used.project, used.qualified_name) == (run.project, artifact.qualified_name)


# Downloads.


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("some", {"some/one", "some-two"}),
        ("some/", {"some/one"}),
        ("", {"some/one", "some-two", "other"}),
        (None, {"some/one", "some-two", "other"}),
    ],
)
def test_a_prefix_limits_a_download(run: Run, prefix: str | None, expected: set[str]) -> None:
    run.log_artifact(_draft(**{"some/one": "1", "some-two": "2", "other": "3"}))
    folder = Path(run.use_artifact("m:latest").download(path_prefix=prefix))
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == expected


def test_a_download_replaces_what_changed_and_leaves_the_rest(run: Run) -> None:
    run.log_artifact(_draft(a="1", b="2"))
    folder = Path(run.use_artifact("m:latest").download())
    kept = (folder / "b").stat().st_mtime_ns
    (folder / "a").write_text("changed")
    assert Path(run.use_artifact("m:latest").download()) == folder
    assert (folder / "a").read_text() == "1"
    assert (folder / "b").stat().st_mtime_ns == kept


# Artifacts in the config.


def _entries_of(artifact: wandb.Artifact) -> dict[str, Any]:
    """What names the artifact in a config, in every form."""
    return {
        "itself": artifact,
        "name": f"wandb-artifact://{artifact.qualified_name}",
        "id": f"wandb-artifact://_id/{artifact.id}",
        "with a server": f"wandb-artifact://grpc://127.0.0.1:7600/{artifact.qualified_name}",
        "id with a server": f"wandb-artifact://127.0.0.1/_id/{artifact.id}",
        "of a config": artifact.json_encode(),
    }


@pytest.mark.parametrize("when", ["init", "update", "item", "attribute"])
def test_an_artifact_in_the_config_is_used_and_stored_by_its_id(run: Run, when: str) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    entries = {key.replace(" ", "_"): entry for key, entry in _entries_of(artifact).items()}
    run.finish()
    with wandb.init(project=run.project, config=entries if when == "init" else None) as other:
        if when == "update":
            other.config.update(entries)
        for key, entry in entries.items():
            if when == "item":
                other.config[key] = entry
            if when == "attribute":
                setattr(other.config, key, entry)
            assert other.config[key] == artifact
    found = wandb.Api().run(other.path)
    assert found.config == {key: artifact.json_encode() for key in entries}
    assert [used.qualified_name for used in found.used_artifacts()] == [artifact.qualified_name]


def test_an_artifact_inside_of_an_entry_is_refused(run: Run) -> None:
    artifact = run.log_artifact(_draft(a="1"))
    for nested in ({"inner": artifact}, {"a": {"b": artifact}}, [artifact]):
        with pytest.raises(ValueError, match="Artifact can only be an entry itself"):
            run.config.update({"outer": nested})


def test_what_names_no_artifact_is_an_error_online_and_text_offline(run: Run) -> None:
    with pytest.raises(wandb.errors.NotFound):
        run.config["missing"] = "wandb-artifact://local/nowhere/m:v0"
    run.finish()
    for mode in ("offline", "disabled"):
        with wandb.init(project=run.project, mode=mode, config={"d": "wandb-artifact://e/p/m:v0"}) as other:
            assert other.config["d"] == "wandb-artifact://e/p/m:v0"


def test_rewinding_is_refused_as_an_argument_and_as_a_setting(embedded: Path) -> None:
    for options in ({"resume_from": "r?_step=1"}, {"settings": {"fork_from": "r?_step=1"}}):
        with pytest.raises(wandb.UsageError, match="not supported"):
            wandb.init(**options)
    assert wandb.run is None
