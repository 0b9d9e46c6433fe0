"""The recipe for other languages, as the README shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelyard.contract import chunking
from modelyard.contract.chunking import Entry
from modelyard.v1 import model_artifact_pb2 as pb
from tests.parts.fork_server import run_python
from tests.parts.server import LiveServer, new_project

RECIPE = Path(__file__).parents[3] / "examples" / "plain_client.py"


def _run(server: LiveServer, *arguments: str) -> str:
    return run_python(str(RECIPE), server.address, server.token, *arguments, check=True).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(5_000_000))
    (folder / "parts" / "config.json").write_text("{}")
    (folder / "empty").write_bytes(b"")
    return folder


def test_plain_stubs_upload_resolve_and_download_the_same_bytes(
    any_live_server: LiveServer, folder: Path, tmp_path: Path
) -> None:
    name, target = new_project(), tmp_path / "back"
    printed = _run(any_live_server, str(folder), name, "weights.bin", str(target))
    assert printed.splitlines() == [f"{name}:v0 new", "weights.bin of v0: 5000000 bytes"]
    assert target.read_bytes() == (folder / "weights.bin").read_bytes()


def test_the_same_folder_again_is_the_same_version(
    any_live_server: LiveServer, folder: Path, tmp_path: Path
) -> None:
    name = new_project()
    for words in ("new", "had this content already"):
        printed = _run(any_live_server, str(folder), name, "parts/config.json", str(tmp_path / "back"))
        assert printed.startswith(f"{name}:v0 {words}\n")


def test_the_digest_of_a_version_can_be_checked_from_the_published_rule(
    any_live_server: LiveServer, folder: Path, tmp_path: Path
) -> None:
    name = new_project()
    _run(any_live_server, str(folder), name, "empty", str(tmp_path / "back"))
    stubs = any_live_server.stubs()
    version = stubs.artifacts.GetModelArtifactVersion(pb.GetModelArtifactVersionRequest(ref=name)).version
    entries = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        digest = chunking.file_digest(chunking.cut(data))
        entries.append(Entry(path.relative_to(folder).as_posix(), len(data), digest))
    assert version.digest == chunking.version_digest(entries).hex()
    assert (version.size_bytes, version.file_count) == (5_000_002, 3)


def test_the_readme_shows_the_recipe_word_for_word() -> None:
    readme = (RECIPE.parents[1] / "README.md").read_text()
    assert RECIPE.read_text().strip() in readme
    assert len(RECIPE.read_text().splitlines()) < 40
