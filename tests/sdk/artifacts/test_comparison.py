"""Versions compared through the SDK, on both databases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import modelyard
from modelyard import Api, Artifact, errors
from tests.sdk.artifacts.test_artifact_versions import draft

LARGE = 4_000_000


def logged(files: dict[str, bytes], metadata: dict[str, object], **results: float) -> Artifact:
    """A version of `net` by a run of its own with these results."""
    artifact = draft("net", {}, kind="model")
    artifact.metadata = metadata
    for path, data in files.items():
        with artifact.new_file(path, mode="wb") as file:
            file.write(data)
    with modelyard.init() as run:
        run.log({**results, "note": "text"})
        return run.log_artifact(artifact).wait()


def test_a_version_is_compared_with_another(work: Path) -> None:
    weights = os.urandom(LARGE)
    base = logged({"w": weights, "old": b"1"}, {"lr": 0.1, "data": {"rows": 5, "cut": 2}}, loss=0.5, acc=0.8)
    changed = weights[:-1000] + bytes(1000)
    version = logged({"w": changed, "new": b"2"}, {"lr": 0.1, "data": {"rows": 7}, "seed": 1}, loss=0.25)
    difference = version.compare(base)
    assert bool(difference)
    assert [file.path for file in difference.added] == ["new"]
    assert [file.path for file in difference.removed] == ["old"]
    (weights_file,) = difference.changed
    assert (weights_file.size, weights_file.base_size) == (LARGE, LARGE)
    assert weights_file.shared_bytes is not None
    assert 0 < LARGE - weights_file.shared_bytes <= 2 * (1 << 20)
    assert difference.shared_bytes == weights_file.shared_bytes
    assert (difference.size_bytes, difference.unchanged_count) == (LARGE + 1, 0)
    assert [(one.key, one.kind, one.base_value, one.value) for one in difference.metadata] == [
        ("data.cut", "removed", 2, None),
        ("data.rows", "changed", 5, 7),
        ("seed", "added", None, 1),
    ]
    assert [(one.key, one.kind, one.base_value, one.value) for one in difference.metrics] == [
        ("acc", "removed", 0.8, None),
        ("loss", "changed", 0.5, 0.25),
    ]
    text = str(difference)
    assert "files: 1 added, 1 removed, 1 changed, 0 unchanged" in text
    assert "~ data.rows  5 → 7" in text
    assert difference.to_json()["metrics"][1] == {
        "key": "loss",
        "kind": "changed",
        "value": 0.25,
        "base_value": 0.5,
    }


def test_a_base_may_be_named_and_files_be_chosen(work: Path) -> None:
    logged({"a/x": b"1", "b/x": b"1"}, {})
    version = logged({"a/x": b"2", "b/x": b"2"}, {})
    assert [file.path for file in version.compare("net:v0", path_prefix="b/").files] == ["b/x"]
    through = Api().artifact(f"{version.project}/net:v1")
    assert not through.compare("net:v1")
    link = version.link(f"{version.project}/Net")
    assert [file.path for file in link.compare(f"{version.project}/net:v0").files] == ["a/x", "b/x"]
    with pytest.raises(errors.NotFound):
        version.compare("net:v7")
    with pytest.raises(errors.ArtifactNotLoggedError):
        version.compare(version.new_draft())
    with pytest.raises(TypeError, match="base"):
        version.compare(1)  # type: ignore[arg-type]  # refused
