"""Artifacts, versions, aliases and links, as the SDK shows them."""

from __future__ import annotations

import os
import time
from pathlib import Path, PurePath, PureWindowsPath

import pytest

import modelyard
from modelyard import Artifact, errors
from modelyard.runs.run import Run
from tests.clients.waiting import until


@pytest.fixture
def run(embedded: Path, request: pytest.FixtureRequest) -> Run:
    """A run in a project of its own for each test; ended by `embedded`."""
    return modelyard.init(project=request.node.name.partition("[")[0][:100])


def _file(path: Path, text: str = "content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_drafted_object_becomes_the_logged_version(run: Run, embedded: Path) -> None:
    artifact = Artifact("data", "dataset", description="why", metadata={"rows": 3, "share": float("nan")})
    artifact.add_file(str(_file(embedded / "a.csv")))
    with artifact.new_file("notes/b.txt") as file:
        file.write("hello")
    assert artifact.is_draft()
    logged = run.log_artifact(artifact, aliases=["best"], tags=["raw"])
    assert logged is artifact
    assert logged.wait() is artifact
    assert logged.wait(timeout=0) is artifact
    assert artifact.name == "data:v0"
    assert artifact.version == artifact.source_version == "v0"
    assert artifact.qualified_name == f"local/{run.project}/data:v0"
    assert sorted(artifact.aliases) == ["best", "latest"]
    assert artifact.tags == ["raw"]
    assert artifact.metadata == {"rows": 3, "share": None}
    assert artifact.description == "why"
    assert artifact.file_count == 2
    assert artifact.size == 12
    assert artifact.state == "COMMITTED"
    assert len(artifact.digest) == 64
    assert sorted(artifact.manifest.entries) == ["a.csv", "notes/b.txt"]
    maker = artifact.logged_by()
    assert maker is not None
    assert maker.id == run.id


def test_a_draft_has_no_version(tmp_path: Path) -> None:
    artifact = Artifact("data", "dataset")
    for member in ("version", "id", "digest", "source_name", "created_at"):
        with pytest.raises(errors.ArtifactNotLoggedError, match=member):
            getattr(artifact, member)


def test_a_logged_version_is_frozen(run: Run, embedded: Path) -> None:
    artifact = run.log_artifact(_file(embedded / "a.txt"), name="frozen", type="dataset")
    with pytest.raises(errors.ArtifactFinalizedError):
        artifact.add_file(str(embedded / "a.txt"), "b.txt")


def test_files_may_change_after_they_were_added(run: Run, embedded: Path) -> None:
    source = _file(embedded / "a.txt", "before")
    artifact = Artifact("snapshot", "dataset")
    artifact.add_file(str(source))
    source.unlink()
    root = run.log_artifact(artifact).download(root=embedded / "down")
    assert Path(root, "a.txt").read_text() == "before"


def test_equal_content_makes_no_new_version(run: Run, embedded: Path) -> None:
    path = _file(embedded / "a.txt")
    first = run.log_artifact(path, name="same", type="dataset")
    second = run.log_artifact(path, name="same", type="dataset", aliases="again")
    assert second.version == first.version == "v0"
    assert sorted(second.aliases) == ["again", "latest"]
    third = run.log_artifact(_file(path, "other"), name="same", type="dataset")
    assert third.version == "v1"
    assert modelyard.Api().artifact(f"{run.project}/same:again").version == "v0"
    assert modelyard.Api().artifact(f"{run.project}/same").version == "v1"


def test_a_name_keeps_its_type(run: Run, embedded: Path) -> None:
    path = _file(embedded / "a.txt")
    run.log_artifact(path, name="d", type="dataset")
    with pytest.raises(ValueError, match="type"):
        run.log_artifact(path, name="d", type="other")
    with pytest.raises(AssertionError, match="dataset"):
        run.log_model(path, name="d")
    with pytest.raises(AssertionError, match="dataset"):
        run.use_model("d")
    run.log_artifact(path, name="m", type="big-model")
    run.log_model(_file(path, "2"), name="m")
    assert run.use_artifact("m:latest").type == "big-model"
    with pytest.raises(ValueError, match="big-model"):
        run.use_artifact("m:latest", type="model")


def test_log_model_names_what_it_gets(run: Run, embedded: Path) -> None:
    run.log_model(_file(embedded / "my model.bin"))
    assert run.use_artifact(f"run-{run.id}-my-model.bin").type == "model"


def test_what_is_no_path_is_refused(run: Run, embedded: Path) -> None:
    with pytest.raises(ValueError, match="path must be a file, directory or external reference"):
        run.log_model("missing.bin", name="m")
    with pytest.raises(TypeError):
        run.log_model(5, name="m")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="scheme"):
        Artifact("m", "model").add_reference("bucket/path")
    path = _file(embedded / "a.txt")
    with pytest.raises(ValueError, match="Artifact name may only contain"):
        run.log_model(path, name="a b")
    with pytest.raises(ValueError, match="version number"):
        run.log_model(path, name="m", aliases=["v7"])
    assert not modelyard.Api().artifact_exists(f"{run.project}/m")


def test_use_model_returns_what_was_logged(run: Run, embedded: Path) -> None:
    run.log_model(_file(embedded / "one" / "w.bin", "w"), name="one")
    (embedded / "two" / "sub").mkdir(parents=True)
    _file(embedded / "two" / "sub" / "x.txt")
    run.log_model(embedded / "two", name="two")
    _file(embedded / "two" / "y.txt")
    run.log_model(embedded / "two", name="three")
    artifacts = embedded / "artifacts"
    assert run.use_model("one") == str(artifacts / "one:v0" / "w.bin")
    assert run.use_model("two:v0") == str(artifacts / "two:v0" / "sub")
    assert run.use_model(f"local/{run.project}/three:latest") == str(artifacts / "three:v0")


def test_an_empty_folder_is_a_version(run: Run, embedded: Path) -> None:
    (embedded / "empty").mkdir()
    run.log_model(embedded / "empty", name="empty")
    place = Path(run.use_model("empty"))
    assert list(place.iterdir()) == []


def test_an_unknown_name_raises_not_found_and_value_error(run: Run) -> None:
    with pytest.raises(errors.CommError, match="nothing-here"):
        run.use_model("nothing-here")
    with pytest.raises(ValueError, match="nothing-here"):
        run.use_artifact("nothing-here:v3")


def test_link_model_links_under_its_own_number(run: Run, embedded: Path) -> None:
    path = _file(embedded / "w.bin", run.id)
    run.log_model(_file(embedded / "v.bin", "first"), name="w")
    model = f"Model {run.id}"
    linked = run.link_model(path, model, name="w", aliases=["staging"])
    assert linked is not None
    assert linked.is_link
    assert (linked.name, linked.source_name) == (f"{model}:v0", "w:v1")
    assert (linked.project, linked.source_project) == ("model-registry", run.project)
    assert sorted(linked.aliases) == ["latest", "staging"]
    source = run.use_artifact("w:latest")
    assert source.aliases == ["latest"]
    assert source.id == linked.id
    assert [link.qualified_name for link in source.linked_artifacts] == [f"local/model-registry/{model}:v0"]
    place = run.use_model(f"model-registry/{model}:staging")
    assert place == str(embedded / "artifacts" / "w:v1" / "w.bin")


def test_an_unchanged_used_path_links_that_very_version(run: Run, embedded: Path) -> None:
    run.log_model(_file(embedded / "w.bin", run.id), name="w")
    place = run.use_model("w")
    linked = run.link_model(place, f"Same {run.id}")
    assert linked is not None
    assert linked.source_name == "w:v0"
    Path(place).write_text("changed")
    other = run.link_model(place, f"Same {run.id}")
    assert other is not None
    assert other.source_name == f"run-{run.id}-w.bin:v0"
    assert other.version == "v1"


def test_a_used_path_is_compared_by_content_when_it_is_linked(run: Run, embedded: Path) -> None:
    folder = embedded / "model"
    folder.mkdir()
    for name in ("a.bin", "b.bin"):
        _file(folder / name, f"{name} of {run.id}")
    run.log_model(folder, name="w")
    used = Path(run.use_model("w"))
    weights = used / "a.bin"
    before = weights.stat()
    weights.write_text(f"A.bin of {run.id}")  # as long as before, and with the time of before
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = run.link_model(used, f"Compared {run.id}")
    assert changed is not None
    assert changed.source_name == f"run-{run.id}-w-v0:v0"
    used = Path(run.use_model("w"))
    unchanged = run.link_model(used, f"Compared {run.id}")
    assert unchanged is not None
    assert unchanged.source_name == "w:v0"
    _file(used / "c.bin", "one more")
    added = run.link_model(used, f"Compared {run.id}")
    assert added is not None
    assert added.source_name == f"run-{run.id}-w-v0:v1"


def test_files_that_nobody_touched_since_they_were_used_are_linked_without_being_read(
    run: Run, embedded: Path
) -> None:
    size = 16 << 20
    (embedded / "large.bin").write_bytes(os.urandom(size))
    run.log_model(embedded / "large.bin", name="large")
    changed = Path(run.use_model("large")).stat().st_ctime_ns
    until(lambda: time.time_ns() - changed > 50_000_000)  # a write from now on changes the file's times
    place = run.use_model("large")
    before = bytes_read()
    linked = run.link_model(place, f"Unread {run.id}")
    assert linked is not None
    assert linked.source_name == "large:v0"
    assert bytes_read() - before < size // 2
    os.utime(place)
    before = bytes_read()
    run.link_model(place, f"Unread {run.id}")
    assert bytes_read() - before >= size


def bytes_read() -> int:
    """Bytes that this process has read from files and sockets so far."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


def test_a_registered_model_has_no_path_in_its_name(run: Run, embedded: Path) -> None:
    with pytest.raises(AssertionError, match="Please provide only the name of the registered model"):
        run.link_model(_file(embedded / "w.bin"), "model-registry/M")


def test_a_draft_is_logged_before_it_is_linked(run: Run, embedded: Path) -> None:
    artifact = Artifact("d", "model")
    artifact.add_dir(str(_file(embedded / "dir" / "a.txt").parent), name="under")
    linked = run.link_artifact(artifact, f"model-registry/D {run.id}", aliases="x")
    assert not artifact.is_draft()
    assert linked.id == artifact.id
    assert sorted(linked.manifest.entries) == ["under/a.txt"]
    again = run.link_artifact(linked, f"model-registry/D {run.id}", aliases=["y"])
    assert again.version == "v0"
    assert sorted(again.aliases) == ["latest", "x", "y"]


def test_aliases_move_in_one_step(run: Run, embedded: Path) -> None:
    model = f"Stage {run.id}"
    run.link_model(_file(embedded / "w.bin", "1"), model, aliases=["production"])
    run.link_model(_file(embedded / "w.bin", "2"), model, aliases=["staging"])
    candidate = modelyard.Api().artifact(f"model-registry/{model}:staging")
    candidate.aliases.remove("staging")
    candidate.aliases.append("production")
    candidate.save()
    assert sorted(candidate.aliases) == ["latest", "production"]
    assert modelyard.Api().artifact(f"model-registry/{model}:production").version == "v1"
    assert modelyard.Api().artifact(f"model-registry/{model}:v0").aliases == []


def test_save_sends_what_may_change(run: Run, embedded: Path) -> None:
    artifact = run.log_artifact(_file(embedded / "a.txt"), name="a", type="dataset")
    artifact.description = "new"
    artifact.metadata["k"] = [1, 2.5]
    artifact.tags.append("good")
    artifact.aliases.append("best")
    artifact.save()
    found = modelyard.Api().artifact(f"{run.project}/a:best")
    assert (found.description, found.metadata, found.tags) == ("new", {"k": [1, 2.5]}, ["good"])


def test_delete_and_unlink(run: Run, embedded: Path) -> None:
    artifact = run.log_artifact(_file(embedded / "a.txt"), name="a", type="model")
    with pytest.raises(ValueError, match="not a link"):
        artifact.unlink()
    linked = run.link_artifact(artifact, f"Gone {run.id}")
    with pytest.raises(ValueError, match="ttl"):
        linked.ttl = None
    with pytest.raises(errors.CommError):
        artifact.delete()
    linked.unlink()
    artifact.delete(delete_aliases=True)
    assert not modelyard.Api().artifact_exists(f"{run.project}/a:v0")


def test_using_a_version_twice_downloads_it_once(run: Run, embedded: Path) -> None:
    run.log_model(_file(embedded / "w.bin", "w" * 1000), name="w")
    place = Path(run.use_model("w"))
    before = place.stat().st_mtime_ns
    assert Path(run.use_model("w")).stat().st_mtime_ns == before


def test_metadata_is_checked_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="infinities"):
        Artifact("a", "t", metadata={"x": float("inf")})
    with pytest.raises(ValueError, match="100 keys"):
        Artifact("a", "t", metadata={str(key): 0 for key in range(101)})
    with pytest.raises(ValueError, match="Artifact name"):
        Artifact("a/b", "t")


def test_the_name_of_an_entry_may_be_a_path(tmp_path: Path) -> None:
    artifact = Artifact("a", "t")
    source = _file(tmp_path / "a.txt", "1")
    artifact.add_file(source, name=PurePath("data", "a.txt"))
    artifact.add_file(source, name=PureWindowsPath("data", "b.txt"))
    artifact.add_dir(tmp_path, name=PurePath("folder"))
    with artifact.new_file(PurePath("notes", "n.txt")) as file:
        file.write("note")
    artifact.add_reference(source.as_uri(), name=PurePath("kept", "a.txt"))
    assert list(artifact.manifest.entries) == [
        "data/a.txt", "data/b.txt", "folder/a.txt", "kept/a.txt", "notes/n.txt"
    ]  # fmt: skip


def test_a_path_twice_needs_equal_content(tmp_path: Path) -> None:
    artifact = Artifact("a", "t")
    artifact.add_file(str(_file(tmp_path / "a.txt", "1")), "x")
    artifact.add_file(str(_file(tmp_path / "b.txt", "1")), "x")
    with pytest.raises(ValueError, match="other content"):
        artifact.add_file(str(_file(tmp_path / "c.txt", "2")), "x")
    artifact.add_file(str(tmp_path / "c.txt"), "x", overwrite=True)
    assert artifact.size == 1
    with pytest.raises(ValueError, match="file already"):
        artifact.add_file(str(tmp_path / "c.txt"), "x/y")
    with pytest.raises(ValueError, match="relative"):
        artifact.add_file(str(tmp_path / "c.txt"), "../y")
    artifact.remove("x")
    assert artifact.file_count == 0
