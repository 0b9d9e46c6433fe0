"""`run.save`: which files go to the server, under which paths, and when."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard.capture import saved_files
from modelyard.configuration.settings import current
from modelyard.v1 import run_file_pb2
from modelyard.workspace import Workspace
from tests.clients.commands import run_command
from tests.clients.waiting import until
from tests.parts.fork_server import start_python


@pytest.fixture(autouse=True)
def _nothing_but_saved_files(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_X_SAVE_REQUIREMENTS", "false")


def stored(path: str) -> dict[str, bytes]:
    """The files that a run has on the server."""
    stubs = Workspace(current()).connection.run_files
    run_id = modelyard.Api().run(path)._record.id
    listed = stubs.ListRunFiles(run_file_pb2.ListRunFilesRequest(run_id=run_id, page_size=1000)).files
    return {
        file.path: b"".join(
            part.data
            for part in stubs.DownloadRunFile(
                run_file_pb2.DownloadRunFileRequest(run_id=run_id, path=file.path)
            )
        )
        for file in listed
    }


def _write(path: str, content: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


@pytest.mark.parametrize("policy", saved_files.POLICIES)
def test_files_are_on_the_server_when_the_run_ended(work: Path, policy: str) -> None:
    _write("these/are/a.txt", "a")
    _write("these/are/b.txt", "b")
    with modelyard.init() as run:
        paths = run.save("these/are/*.txt", policy=policy)
        assert [Path(path).read_text() for path in paths] == ["a", "b"]
        assert paths == [os.path.join(run.dir, "these/are/a.txt"), os.path.join(run.dir, "these/are/b.txt")]
        _write("these/are/b.txt", "changed")
    last = b"b" if policy == "now" else b"changed"
    assert stored(run.path) == {"these/are/a.txt": b"a", "these/are/b.txt": last}


def test_now_and_live_are_sent_while_the_run_goes_on_and_end_is_not(work: Path) -> None:
    run = modelyard.init()
    for policy in saved_files.POLICIES:
        _write(policy, "first")
        run.save(policy, policy=policy)
    until(lambda: set(stored(run.path)) == {"now", "live"})
    for policy in saved_files.POLICIES:
        _write(policy, "second one")
    until(lambda: stored(run.path)["live"] == b"second one", seconds=30)
    assert stored(run.path)["now"] == b"first"
    run.finish()
    assert stored(run.path) == {"now": b"first", "live": b"second one", "end": b"second one"}


@pytest.mark.parametrize(
    ("pattern", "base", "path"),
    [
        ("runs/1/x.txt", None, "runs/1/x.txt"),
        ("{root}/runs/1/x.txt", None, "1/x.txt"),
        ("{root}/runs/*/x.txt", "{root}", "runs/1/x.txt"),
        ("runs/**/*.txt", "runs", "1/x.txt"),
        ("./runs/1/../1/x.txt", "runs/1", "x.txt"),
    ],
)
def test_paths_are_those_that_wandb_documents(work: Path, pattern: str, base: str | None, path: str) -> None:
    _write("runs/1/x.txt", "x")
    root = str(work)
    found = saved_files.matches(pattern.format(root=root), base and base.format(root=root))
    assert found == [saved_files.Match(work / "runs/1/x.txt", path)]


def test_what_cannot_be_saved_is_refused_at_once(work: Path) -> None:
    _write("x.txt", "x")
    with modelyard.init() as run:
        for arguments in (("../*",), ("/etc/host*", str(work)), ("x.txt", None, "sometimes")):
            with pytest.raises(ValueError, match="save: "):
                run.save(*arguments)
        assert run.save("none/*") == []
        assert run.save("s3://bucket/x") == []
    with pytest.raises(modelyard.errors.UsageError):
        run.save("x.txt")
    assert stored(run.path) == {}


def test_a_file_that_is_gone_costs_the_others_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with modelyard.init() as run:
        for name in ("gone", "kept"):
            _write(name, name)
            run.save(name, policy="end")
        Path("gone").unlink()
        run.save("kept", policy="now")
        run.log({"x": 1})
    assert stored(run.path) == {"kept": b"kept"}


def test_a_large_file_and_an_empty_one_arrive_whole(work: Path) -> None:
    content = os.urandom(9 << 20)
    Path("large").write_bytes(content)
    Path("empty").write_bytes(b"")
    with modelyard.init() as run:
        run.save("*", policy="now")
    assert stored(run.path) == {"large": content, "empty": b""}


def test_a_file_in_the_runs_own_folder_is_saved_where_it_is(work: Path) -> None:
    with modelyard.init() as run:
        Path(run.dir, "notes.md").write_text("mine")
        (path,) = run.save(os.path.join(run.dir, "notes.md"), base_path=run.dir)
        assert path == os.path.join(run.dir, "notes.md")
        assert not Path(path).is_symlink()
    assert stored(run.path)["notes.md"] == b"mine"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_files_of_a_killed_run_are_sent_by_sync(work: Path, mode: str) -> None:
    program = f"""
        import time, modelyard
        run = modelyard.init(id="killed", mode={mode!r})
        for policy in ("live", "end", "now"):
            open(policy, "w").write(policy)
            run.save(policy, policy=policy)
        print("ready", flush=True)
        time.sleep(600)
    """
    process = start_python("-c", textwrap.dedent(program), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    run_command("sync")
    found: dict[str, Any] = stored(
        f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/killed"
    )
    assert found == {"live": b"live", "end": b"end", "now": b"now"}
