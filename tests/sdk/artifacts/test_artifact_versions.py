"""Versions through the SDK, on both databases: drafts that rest on others, reading, changing, deleting."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

import modelyard
from modelyard import Api, Artifact, ArtifactTTL, errors
from modelyard.runs.run import Run


@pytest.fixture
def run(work: Path) -> Run:
    """A run in a project of its own."""
    return modelyard.init()


def draft(name: str, files: dict[str, str], kind: str = "dataset", incremental: bool = False) -> Artifact:
    """A draft with these contents by path."""
    artifact = Artifact(name, kind, incremental=incremental)
    for path, text in files.items():
        with artifact.new_file(path) as file:
            file.write(text)
    return artifact


def contents(artifact: Artifact, root: Path) -> dict[str, str]:
    """What is downloaded of a version."""
    place = Path(artifact.download(root / artifact.source_name))
    return {
        path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()
    }


def test_a_new_draft_keeps_unchanged_files(run: Run, work: Path) -> None:
    first = draft("data", {"a.txt": "a", "sub/b.txt": "b", "sub/c.txt": "c"})
    first.metadata["rows"] = 3
    run.log_artifact(first)
    second = first.new_draft()
    assert second.is_draft()
    assert sorted(second.manifest.entries) == ["a.txt", "sub/b.txt", "sub/c.txt"]
    assert second.metadata == {"rows": 3}
    second.remove("sub/c.txt")
    with second.new_file("a.txt", mode="w") as file:
        file.write("changed")
    with second.new_file("d.txt") as file:
        file.write("d")
    run.log_artifact(second)
    assert second.name == "data:v1"
    assert contents(second, work) == {"a.txt": "changed", "sub/b.txt": "b", "d.txt": "d"}
    assert contents(first, work) == {"a.txt": "a", "sub/b.txt": "b", "sub/c.txt": "c"}


def test_an_unchanged_new_draft_is_the_same_version(run: Run) -> None:
    first = run.log_artifact(draft("data", {"a.txt": "a", "b.txt": "b"}))
    again = run.log_artifact(first.new_draft())
    assert again.version == "v0"
    assert again.id == first.id


def test_a_new_draft_refuses_other_content_under_a_path_it_has(run: Run, work: Path) -> None:
    first = run.log_artifact(draft("data", {"a/b.txt": "b"}))
    second = first.new_draft()
    (work / "b.txt").write_text("b")
    second.add_file("b.txt", "a/b.txt")
    third = first.new_draft()
    (work / "b.txt").write_text("other")
    with pytest.raises(ValueError, match="other content"):
        third.add_file("b.txt", "a/b.txt")
    with pytest.raises(ValueError, match="folder already"):
        third.add_file("b.txt", "a")
    third.add_file("b.txt", "a/b.txt", overwrite=True)
    third.remove("a")
    with pytest.raises(FileNotFoundError):
        third.remove("a")
    assert third.file_count == 0


def test_incremental_keeps_the_files_of_the_newest_version(run: Run, work: Path) -> None:
    run.log_artifact(draft("grows", {"a.txt": "a"}, incremental=True))
    run.log_artifact(draft("grows", {"b.txt": "b"}, incremental=True))
    last = run.log_artifact(draft("grows", {"a.txt": "A", "c.txt": "c"}, incremental=True))
    assert last.version == "v2"
    assert contents(last, work) == {"a.txt": "A", "b.txt": "b", "c.txt": "c"}
    plain = run.log_artifact(draft("grows", {"z.txt": "z"}))
    assert sorted(plain.manifest.entries) == ["z.txt"]


def test_entries_know_their_file_and_fetch_it_alone(run: Run, work: Path) -> None:
    logged = run.log_artifact(draft("data", {"model": "m", "model.bin": "weights", "sub/x": "x"}))
    entry = logged.get_path("model")
    assert (entry.path, entry.size, entry.ref, len(entry.digest)) == ("model", 1, None, 64)
    place = Path(entry.download(work / "one"))
    assert place == work / "one" / "model"
    assert place.read_text() == "m"
    assert [path.name for path in (work / "one").iterdir()] == ["model"]
    assert Path(logged.get_path("sub/x").download()) == work / "artifacts" / "data:v0" / "sub" / "x"
    with pytest.raises(KeyError, match="not contained"):
        logged.get_path("sub")
    with pytest.raises(ValueError, match="not a reference"):
        entry.ref_target()


def test_download_can_be_limited_to_a_prefix(run: Run, work: Path) -> None:
    logged = run.log_artifact(draft("data", {"train/a": "1", "train/b": "2", "test/c": "3"}))
    place = Path(logged.download(work / "part", path_prefix="train/"))
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("?")) == ["train/a", "train/b"]
    assert [entry.path for entry in logged.files(["test/c", "nothing"])] == ["test/c"]
    with pytest.raises(ValueError, match="3 files"):
        logged.file()
    assert Path(run.log_artifact(draft("one", {"only.txt": "1"})).file()).read_text() == "1"


def test_verify_finds_what_is_wrong_with_a_folder(run: Run, work: Path) -> None:
    logged = run.log_artifact(draft("data", {"a.txt": "a", "sub/b.txt": "bb"}))
    with pytest.raises(ValueError, match="no folder"):
        logged.verify()
    place = Path(logged.download())
    logged.verify()
    (place / "sub" / "b.txt").write_text("xx")
    with pytest.raises(ValueError, match=r"b\.txt.*differs from the content"):
        logged.verify()
    logged.download()
    logged.verify()
    (place / "extra.txt").write_text("")
    with pytest.raises(ValueError, match=r"extra\.txt.*not part of"):
        logged.verify()
    (place / "extra.txt").unlink()
    (place / "a.txt").unlink()
    with pytest.raises(ValueError, match=r"a\.txt.*missing"):
        logged.verify()


def test_save_sends_only_what_this_object_changed(run: Run) -> None:
    first = draft("data", {"a": "a"})
    first.metadata |= {"gone": 1, "stays": 1}
    mine = run.log_artifact(first, aliases=["mine"], tags=["raw"])
    theirs = Api().artifact("data:v0")
    theirs.metadata["new"] = 2
    theirs.aliases.append("theirs")
    theirs.tags.append("theirs")
    theirs.description = "theirs"
    theirs.save()
    mine.aliases.remove("mine")
    mine.tags += ["good", "good"]
    mine.metadata["k"] = 1
    del mine.metadata["gone"]
    mine.save()
    found = Api().artifact("data:v0")
    assert sorted(found.aliases) == ["latest", "theirs"]
    assert sorted(found.tags) == ["good", "raw", "theirs"]
    assert (found.description, found.metadata) == ("theirs", {"k": 1, "stays": 1, "new": 2})


def test_removing_an_alias_leaves_it_where_others_moved_it(run: Run) -> None:
    first = run.log_artifact(draft("data", {"a": "1"}), aliases=["best"])
    second = run.log_artifact(draft("data", {"a": "2"}))
    second.aliases.append("best")
    second.save()
    first.aliases.remove("best")
    first.aliases.append("worst")
    first.save()
    assert Api().artifact("data:best").version == "v1"
    assert Api().artifact("data:worst").version == "v0"


def test_an_alias_may_be_assigned_whole_and_is_checked_at_once(run: Run) -> None:
    logged = run.log_artifact(draft("data", {"a": "1"}))
    with pytest.raises(ValueError, match="version number"):
        logged.aliases.append("v3")
    with pytest.raises(ValueError, match="tag"):
        logged.tags.append("a/b")
    logged.aliases = ["latest", "production"]
    logged.tags = ["one tag", "two"]
    logged.save()
    assert sorted(Api().artifact("data").aliases) == ["latest", "production"]
    assert sorted(Api().artifact("data").tags) == ["one tag", "two"]
    logged.aliases = []
    logged.save()
    assert Api().artifact("data:v0").aliases == []


def test_a_change_deep_in_the_metadata_is_saved(run: Run) -> None:
    made = draft("data", {"a": "1"})
    made.metadata = {"eval": {"acc": 0.5, "folds": [1]}, "other": 1}
    logged = run.log_artifact(made)
    logged.metadata["eval"]["acc"] = 0.9
    logged.metadata["eval"]["folds"].append(2)
    logged.save()
    assert logged.metadata["eval"] == {"acc": 0.9, "folds": [1, 2]}
    assert Api().artifact("data").metadata == {"eval": {"acc": 0.9, "folds": [1, 2]}, "other": 1}


def test_a_ttl_is_kept_changed_and_cleared_by_linking(run: Run) -> None:
    artifact = draft("data", {"a": "1"}, kind="model")
    artifact.ttl = datetime.timedelta(days=30)
    run.log_artifact(artifact)
    assert artifact.ttl == datetime.timedelta(days=30)
    artifact.ttl = datetime.timedelta(days=7)
    artifact.save()
    assert Api().artifact("data").ttl == datetime.timedelta(days=7)
    artifact.ttl = ArtifactTTL.INHERIT
    artifact.save()
    assert Api().artifact("data").ttl is None
    artifact.ttl = datetime.timedelta(days=1)
    artifact.save()
    linked = artifact.link(f"TTL {run.id}")
    assert Api().artifact("data:v0").ttl is None
    with pytest.raises(ValueError, match="link has no ttl"):
        linked.ttl = datetime.timedelta(days=1)
    with pytest.raises(ValueError, match="ttl must be positive"):
        artifact.ttl = datetime.timedelta(0)
    with pytest.raises(TypeError):
        artifact.ttl = 3  # type: ignore[assignment]  # that is the point


def test_deleting_follows_the_rules(run: Run) -> None:
    first = run.log_artifact(draft("data", {"a": "1"}))
    second = run.log_artifact(draft("data", {"a": "2"}))
    first.delete()
    assert first.state == "DELETED"
    assert not Api().artifact_exists("data:v0")
    with pytest.raises(errors.VersionHasAliases):
        second.delete()
    linked = second.link(f"Deleted {run.id}")
    second.aliases = []
    second.save()
    with pytest.raises(errors.VersionLinked, match=f"Deleted {run.id}:v0"):
        second.delete()
    assert [link.qualified_name for link in second.linked_artifacts] == [linked.qualified_name]
    linked.unlink()
    assert second.linked_artifacts == []
    second.delete()
    third = run.log_artifact(draft("data", {"a": "3"}))
    assert third.version == "v2"


def test_latest_goes_to_the_newest_that_remains(run: Run) -> None:
    run.log_artifact(draft("data", {"a": "1"}))
    second = run.log_artifact(draft("data", {"a": "2"}))
    second.delete(delete_aliases=True)
    assert Api().artifact("data:latest").version == "v0"


def test_deleting_a_link_leaves_its_source(run: Run) -> None:
    artifact = run.log_artifact(draft("m", {"a": "1"}, kind="model"))
    linked = artifact.link(f"model-registry/Only link {run.id}", aliases=["staging"])
    assert Api().artifact_exists(f"model-registry/Only link {run.id}:v0")
    linked.delete()
    assert not Api().artifact_exists(f"model-registry/Only link {run.id}:v0")
    assert Api().artifact("m:v0").linked_artifacts == []


def test_both_sides_of_a_link_lead_to_the_other(run: Run) -> None:
    artifact = run.log_artifact(draft("m", {"a": "1"}, kind="model"), tags=["t"])
    linked = run.link_artifact(artifact, f"wandb-registry-{run.id}/The Model", aliases=["production"])
    assert linked.is_link
    assert linked.project == f"wandb-registry-{run.id}"
    assert (linked.source_name, linked.source_version) == ("m:v0", "v0")
    assert (linked.source_project, linked.source_entity) == (run.project, run.entity)
    assert linked.id == artifact.id
    assert linked.tags == ["t"]
    assert linked.collection.name == "The Model"
    assert linked.source_collection == artifact.collection
    assert artifact.collection.name == "m"
    again = Api().artifact(f"wandb-registry-{run.id}/The Model:production")
    assert again.qualified_name == f"local/wandb-registry-{run.id}/The Model:v0"
    twice = linked.link(f"wandb-registry-{run.id}/Second")
    assert twice.source_qualified_name == artifact.qualified_name
    names = [link.qualified_name for link in artifact.linked_artifacts]
    assert sorted(names) == [
        f"local/wandb-registry-{run.id}/Second:v0",
        f"local/wandb-registry-{run.id}/The Model:v0",
    ]


def test_a_draft_is_logged_when_it_is_linked_or_saved(run: Run) -> None:
    artifact = draft("m", {"a": "1"}, kind="model")
    with pytest.raises(ValueError, match="target"):
        artifact.link("m:v3")
    assert artifact.is_draft()
    linked = artifact.link(f"From draft {run.id}")
    assert not artifact.is_draft()
    assert linked.version == "v0"
    other = draft("n", {"a": "1"})
    other.save()
    assert other.name == "n:v0"


def test_runs_are_known_from_both_ends(run: Run) -> None:
    artifact = run.log_artifact(draft("m", {"a": "1"}, kind="model"))
    assert artifact.used_by() == []
    run.finish()
    with modelyard.init() as second:
        used = second.use_artifact("m:latest", use_as="starting point")
        assert used.use_as == "starting point"
        made = second.log_artifact(draft("n", {"a": "1"}))
        path = second.path
    maker = artifact.logged_by()
    assert maker is not None
    assert maker.id == run.id
    users = artifact.used_by()
    assert ["/".join(user.path) for user in users] == [path]
    assert users[0].used_artifacts()[:] == [artifact]
    assert users[0].logged_artifacts()[:] == [made]
    assert len(maker.logged_artifacts()) == 1
    graph = made.lineage(depth=3, direction="upstream")
    assert {version.ref for version in graph.versions} == {artifact.qualified_name, made.qualified_name}
    assert {edge.use_as for edge in graph.edges} == {"", "starting point"}
    assert "used as starting point local/" in str(graph)


def test_a_deleted_version_is_a_tombstone_in_the_lineage(run: Run) -> None:
    artifact = run.log_artifact(draft("m", {"a": "1"}))
    artifact.delete(delete_aliases=True)
    graph = Api().run(run.path).lineage(depth=1)
    assert [(version.ref, version.deleted) for version in graph.versions] == [(artifact.qualified_name, True)]
    assert Api().run(run.path).logged_artifacts()[:] == []
    assert "deleted" in str(graph)


def test_equal_content_replaces_description_and_metadata_when_given(run: Run) -> None:
    first = draft("data", {"a": "1"})
    first.description, first.metadata = "first", {"n": 1}
    run.log_artifact(first)
    run.log_artifact(draft("data", {"a": "1"}))
    assert Api().artifact("data").description == "first"
    second = draft("data", {"a": "1"})
    second.description, second.metadata = "second", {"n": 2}
    run.log_artifact(second, aliases=["again"])
    found = Api().artifact("data:again")
    assert (found.version, found.description, found.metadata) == ("v0", "second", {"n": 2})


def test_use_artifact_may_set_aliases(run: Run) -> None:
    run.log_artifact(draft("data", {"a": "1"}))
    run.use_artifact("data:v0", aliases="used")
    assert Api().artifact("data:used").version == "v0"
