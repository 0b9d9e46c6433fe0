"""Where drafts keep copies of files, and that none is left however the process ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard import Artifact, Settings
from tests.clients.transfers import contents_of
from tests.parts.system.disks import MIB, DiskFactory, disk_factory

__all__ = ["disk_factory"]

COPY = """
import sys, modelyard
artifact = modelyard.Artifact("draft", "model")
artifact.add_file("model.bin")
print("copied", flush=True)
sys.stdin.read()
"""

StartCopier = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def start_copier(embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartCopier]:
    """Starts processes that have copied a file for a draft and then wait for the end of their input."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (embedded / "model.bin").write_bytes(b"weights")
    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COPY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "copied\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def copies(folder: Path) -> list[bytes]:
    """The copies below a folder."""
    return [data for path, data in sorted(contents_of(folder).items()) if not path.endswith("lock")]


def test_copies_lie_in_the_folder_of_the_cache_and_go_with_the_process(
    start_copier: StartCopier, tmp_path: Path
) -> None:
    process = start_copier()
    assert copies(tmp_path / "cache/drafts") == [b"weights"]
    assert list((tmp_path / "temporary").iterdir()) == []
    process.communicate("")
    assert process.returncode == 0
    assert list((tmp_path / "cache/drafts").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_copied_is_removed_by_the_next_one(
    start_copier: StartCopier, tmp_path: Path, how: signal.Signals
) -> None:
    alive = start_copier()
    killed = start_copier()
    killed.send_signal(how)
    killed.wait(30)
    assert copies(tmp_path / "cache/drafts") == [b"weights"] * 2
    following = start_copier()
    assert copies(tmp_path / "cache/drafts") == [b"weights"] * 2
    for process in (alive, following):
        process.communicate("")
    assert list((tmp_path / "cache/drafts").iterdir()) == []


def test_a_process_that_only_logs_or_downloads_removes_it_too(
    start_copier: StartCopier, tmp_path: Path, embedded: Path
) -> None:
    killed = start_copier()
    killed.kill()
    killed.wait(30)
    modelyard.init(project="staging").log_model("model.bin", name="model")
    assert copies(tmp_path / "cache/drafts") == []


def test_the_end_of_a_forked_child_keeps_its_parents_copies(
    start_copier: StartCopier, embedded: Path
) -> None:
    script = COPY.replace(
        "sys.stdin.read()",
        "import os\nif os.fork() == 0:\n    artifact.add_file('model.bin', 'own')\n    sys.exit()\n"
        "os.wait()\n"
        "print(open(artifact.manifest.entries['model.bin'].local_path).read())",
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "copied\nweights\n"


def test_copies_of_a_draft_are_removed_with_it(embedded: Path, tmp_path: Path) -> None:
    (embedded / "model.bin").write_bytes(b"weights")
    artifact = Artifact("draft", "model")
    entry = artifact.add_file("model.bin")
    (embedded / "model.bin").write_bytes(b"changed")
    assert Path(entry.local_path).is_relative_to(tmp_path / "cache/drafts")
    assert Path(entry.local_path).read_bytes() == b"weights"
    del artifact
    gc.collect()
    assert not Path(entry.local_path).exists()


def test_the_runs_own_cache_folder_takes_the_copies(embedded: Path, tmp_path: Path) -> None:
    modelyard.init(project="staging", settings=Settings(cache_dir=str(tmp_path / "own")))
    (embedded / "model.bin").write_bytes(b"weights")
    artifact = Artifact("draft", "model")
    entry = artifact.add_file("model.bin")
    assert Path(entry.local_path).is_relative_to(tmp_path / "own/drafts")


def test_nothing_else_in_the_folder_of_drafts_is_touched(start_copier: StartCopier, tmp_path: Path) -> None:
    mine = {"modelyard-draft-x/mine": b"mine", "notes/lock": b"", "modelyard-draft-file": b"mine"}
    for path, data in mine.items():
        place = tmp_path / "cache/drafts" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    start_copier().communicate("")
    assert contents_of(tmp_path / "cache/drafts") == mine


def test_a_cache_folder_that_cannot_be_written_is_no_reason_to_refuse_a_file(
    start_copier: StartCopier, tmp_path: Path, disk_factory: DiskFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_factory("read-only", MIB)
    disk.make_read_only()
    monkeypatch.setenv("MODELYARD_CACHE_DIR", str(disk.path))
    for _ in range(2):
        start_copier().kill()
    process = start_copier()
    assert copies(tmp_path / "temporary")[-1] == b"weights"
    process.communicate("")
    assert os.listdir(tmp_path / "temporary") == []
