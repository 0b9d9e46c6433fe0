"""A logged folder is complete: all files below it are in the version, or an error names one of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Api, Artifact, Run, errors
from tests.clients.commands import run_command
from tests.parts.processes import MODES_HOLD
from tests.parts.server import new_project

Way = Callable[[Run, str], Any]
WAYS: dict[str, Way] = {
    "log_model": lambda run, folder: run.log_model(folder, name="m"),
    "log_artifact": lambda run, folder: run.log_artifact(folder, name="m", type="model"),
    "link_model": lambda run, folder: run.link_model(folder, "M", name="m"),
    "upsert_artifact": lambda run, folder: run.upsert_artifact(folder, "m", "model", distributed_id="x"),
    "add_dir": lambda run, folder: run.log_artifact(_draft(lambda draft: draft.add_dir(folder))),
    "file reference": lambda run, folder: run.log_artifact(
        _draft(lambda draft: draft.add_reference(Path(folder).absolute().as_uri()))
    ),
}


def _draft(fill: Callable[[Artifact], object]) -> Artifact:
    draft = Artifact("m", "model")
    fill(draft)
    return draft


@pytest.fixture
def folder(embedded: Path) -> Path:
    """A folder with a file and a subfolder with another."""
    found = embedded / "model"
    (found / "deep").mkdir(parents=True)
    (found / "a.bin").write_bytes(b"a")
    (found / "deep" / "b.bin").write_bytes(b"b")
    return found


@pytest.fixture
def run(folder: Path) -> Run:
    return modelyard.init(project=new_project())


def paths_of(run: Run) -> list[str]:
    return sorted(run.use_artifact("m").manifest.entries)


def is_logged(run: Run) -> bool:
    return Api().artifact_exists(f"{run.project}/m")


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"upsert_artifact"}))
def test_links_to_folders_are_followed(run: Run, folder: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "c.bin").write_bytes(b"c")
    (folder / "linked").symlink_to(tmp_path / "shared")
    (folder / "d.bin").symlink_to(tmp_path / "shared" / "c.bin")
    WAYS[way](run, "model")
    assert paths_of(run) == ["a.bin", "d.bin", "deep/b.bin", "linked/c.bin"]


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"upsert_artifact"}))
def test_a_cyclic_link_ends_and_loses_no_file(run: Run, folder: Path, way: str) -> None:
    (folder / "deep" / "up").symlink_to("..")
    (folder / "self").symlink_to(".")
    WAYS[way](run, "model")
    assert paths_of(run) == ["a.bin", "deep/b.bin"]


def test_a_link_to_a_folder_above_takes_what_is_beside(run: Run, folder: Path) -> None:
    (folder / "deep" / "above").symlink_to(folder.parent)
    (folder.parent / "beside.bin").write_bytes(b"x")
    run.log_model("model", "m")
    assert paths_of(run) == ["a.bin", "deep/above/beside.bin", "deep/b.bin"]


def test_the_local_folders_of_runs_are_left_out_of_what_is_logged(run: Run, folder: Path) -> None:
    own = folder.parent / "modelyard" / "run-of-mine"
    own.mkdir(parents=True)
    (own / "notes.txt").write_bytes(b"x")
    assert Path(run.dir).is_relative_to(folder.parent / "modelyard")
    run.log({"loss": 1})
    run.log_model(".", "m")
    assert [path for path in paths_of(run) if path.startswith("modelyard/")] == [
        "modelyard/run-of-mine/notes.txt"
    ]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path has 108 bytes at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(before)


ODD: dict[str, Callable[[Path], None]] = {
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a pipe": _fifo,
    "a socket": _socket,
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
}


@pytest.mark.parametrize("odd", sorted(ODD))
@pytest.mark.parametrize("way", sorted(WAYS))
def test_what_is_no_file_is_named_and_nothing_is_logged(run: Run, folder: Path, way: str, odd: str) -> None:
    ODD[odd](folder / "deep" / "odd")
    with pytest.raises(errors.LocalFileError, match="model/deep/odd"):
        WAYS[way](run, "model")
    assert not is_logged(run)


@pytest.mark.parametrize("odd", sorted(ODD))
def test_a_path_that_is_no_file_is_named(run: Run, folder: Path, odd: str) -> None:
    ODD[odd](folder / "odd")
    for call in (
        lambda: run.log_model("model/odd", "m"),
        lambda: Artifact("m", "model").add_file("model/odd"),
        lambda: Artifact("m", "model").add_reference((folder / "odd").as_uri()),
    ):
        with pytest.raises((errors.LocalFileError, errors.ReferenceMissing), match="model/odd"):
            call()


@pytest.mark.parametrize("name", [b"tab\there", b"line\nbreak", b"\xff\xfe", "‮".encode()])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_name_that_a_version_cannot_hold_is_named(run: Run, folder: Path, way: str, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(folder / "deep") + b"/" + name)).write_bytes(b"x")
    with pytest.raises(ValueError, match="model/deep/") as caught:
        WAYS[way](run, "model")
    assert isinstance(caught.value, errors.LocalFileError)
    assert repr(os.fsdecode(name)).strip("'") in str(caught.value)
    assert str(caught.value).isprintable()
    assert not is_logged(run)


def test_a_draft_stays_as_it_was_when_a_folder_is_refused(folder: Path) -> None:
    draft = Artifact("m", "model")
    draft.add_file("model/a.bin", "kept.bin")
    os.mkfifo(folder / "deep" / "z")
    with pytest.raises(errors.LocalFileError):
        draft.add_dir("model")
    assert list(draft.manifest.entries) == ["kept.bin"]


UNREADABLE = """
import sys
import modelyard
from modelyard import Artifact, errors
from tests.sdk.artifacts.test_local_files import WAYS
run = modelyard.init(project=sys.argv[2])
try:
    WAYS[sys.argv[1]](run, "model")
except errors.LocalFileError as error:
    print("refused:", error)
    print("logged:", modelyard.Api().artifact_exists(f"{run.project}/m"))
else:
    print("logged")
"""


@pytest.mark.parametrize("what", ["deep", "deep/b.bin"])
@pytest.mark.parametrize("way", sorted(WAYS))
def test_what_cannot_be_read_is_named_and_nothing_is_logged(folder: Path, way: str, what: str) -> None:
    (folder / what).chmod(0)
    project = f"unreadable-{way}-{what}".replace(" ", "-").replace("/", "-")
    done = subprocess.run(
        [*MODES_HOLD, sys.executable, "-c", UNREADABLE, way, project],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    (folder / what).chmod(0o700)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, (done.stdout, done.stderr)
    assert f"model/{what}' cannot be read (Permission denied)" in lines[0]
    assert lines[1] == "logged: False"


CODE = """
import modelyard
with modelyard.init(project="code-unreadable") as run:
    try:
        print(sorted(run.log_code("model").manifest.entries))
    except modelyard.errors.LocalFileError as error:
        print("refused:", error)
"""


def _log_code() -> str:
    done = subprocess.run(
        [*MODES_HOLD, sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return f"{done.stdout.strip()} {'left out' if 'model/deep' in done.stderr else ''}".strip()


def test_code_in_a_folder_that_cannot_be_read_is_left_out_with_a_warning_unless_it_is_set_aside(
    folder: Path,
) -> None:
    (folder / "main.py").write_text("1")
    (folder / "deep" / ".#main.py").symlink_to("ada@host.1234")  # what editors leave beside open files
    (folder / "__pycache__").mkdir(mode=0)
    assert _log_code() == "['main.py']"
    (folder / "deep").chmod(0)
    assert _log_code() == "['main.py'] left out"
    (folder / "deep").chmod(0o700)


def test_the_command_names_the_unreadable_path(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    done = run_command("log", "model", "--name", "m", "--project", "walked")
    assert done.returncode == 1
    assert "model/pipe" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_use_model_takes_no_notice_of_what_else_lies_in_its_folder(run: Run, folder: Path) -> None:
    run.log_model("model", "m")
    place = Path(run.use_model("m:v0"))
    os.mkfifo(place / "pipe")
    assert run.use_model("m:v0") == str(place)
    with pytest.raises(errors.LocalFileError, match="pipe"):
        run.link_model(place, "M")
    (place / "pipe").unlink()
