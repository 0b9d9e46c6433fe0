"""Large versions are sent while training goes on, and arrive whatever happens meanwhile."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import errors
from modelyard.spool.folders import RunFolder
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients.commands import json_of
from tests.clients.waiting import until
from tests.parts.embedded import isolate
from tests.parts.fork_server import run_python, start_python
from tests.parts.server import Factory, LiveServer
from tests.parts.system.disks import DiskFactory, disk_factory
from tests.parts.tcp_proxy import TcpProxy

__all__ = ["disk_factory"]

MIB = 1 << 20
SECONDS = 120
SLOW = "writer.before_put=sleep(2)@1"
"""The server's first upload takes two seconds; other calls do not wait for it."""
Warnings = pytest.CaptureFixture[str]


@pytest.fixture
def line(work: Path, any_live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """The way of the SDK of this process to the server. Nothing is held any more when the test ends."""
    with TcpProxy(any_live_server.port) as proxy:
        monkeypatch.setenv("MODELYARD_URL", f"grpc://{proxy.address}")
        yield proxy
        proxy.release()
        modelyard.finish()


@pytest.fixture
def own(live_server_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    """Starts a server of the test's own, with options, which the SDK of this process uses."""
    isolate(monkeypatch, tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def start(failpoints: str = "") -> LiveServer:
        env = {"MODELYARD_FAILPOINTS": failpoints} if failpoints else {}
        server = live_server_factory("--no-auth", env=env).start()
        monkeypatch.setenv("MODELYARD_URL", server.url)
        return server

    yield start
    modelyard.finish()


Own = Callable[..., LiveServer]


def written(path: Path, size: int = 6 * MIB) -> bytes:
    """Fills a file with bytes that no server has; returns them."""
    content = os.urandom(size)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def hold(line: TcpProxy) -> None:
    """Lets the checks of the next large version pass, and holds its content."""
    line.hold_after = line.received + MIB


def read(ref: str) -> bytes:
    """The content of the only file of a version."""
    return Path(modelyard.Api().artifact(ref).file("read")).read_bytes()


def numbers(ref: str) -> list[str]:
    """The versions of a name, the newest first."""
    return [version.version for version in modelyard.Api().artifact_collection("model", ref).versions()]


def staged(work: Path) -> list[Path]:
    """The calls that wait in the folders of runs."""
    return sorted(work.glob("modelyard/run-*/artifacts/*/call.json"))


def sync() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json_of("sync")
    return found


# What logging returns, and when.


def test_a_large_file_may_be_deleted_as_soon_as_log_model_returns(work: Path, line: TcpProxy) -> None:
    content = written(work / "model.bin")
    run = modelyard.init()
    hold(line)
    run.log_model(work / "model.bin", "m", aliases=["best"])
    (work / "model.bin").unlink()
    until(lambda: line.is_holding)
    assert staged(work)
    line.release()
    run.finish()
    assert read("m:best") == content
    assert not list(work.glob("modelyard/run-*/artifacts"))


def test_a_folder_may_change_as_soon_as_log_artifact_returns(work: Path, line: TcpProxy) -> None:
    first, second = written(work / "data/a.bin"), written(work / "data/deep/b.bin")
    run = modelyard.init()
    hold(line)
    artifact = run.log_artifact(work / "data", "d", "dataset")
    (work / "data/a.bin").write_bytes(b"other")
    shutil.rmtree(work / "data/deep")
    line.release()
    folder = Path(artifact.download())
    assert ((folder / "a.bin").read_bytes(), (folder / "deep/b.bin").read_bytes()) == (first, second)
    assert artifact.type == "dataset"


def test_a_logged_artifact_is_pending_and_frozen_until_it_is_committed(work: Path, line: TcpProxy) -> None:
    written(work / "data.bin")
    run = modelyard.init()
    artifact = modelyard.Artifact("d", "dataset", description="what", metadata={"rows": 1})
    artifact.add_file(str(work / "data.bin"))
    hold(line)
    assert run.log_artifact(artifact, aliases=["best"], tags=["raw"]) is artifact
    until(lambda: line.is_holding)
    assert (artifact.state, artifact.is_draft(), artifact.type) == ("PENDING", False, "dataset")
    assert repr(artifact) == "<Artifact d (being uploaded)>"
    assert sorted(artifact.aliases) == ["best", "latest"]
    with pytest.raises(errors.ArtifactFinalizedError):
        artifact.add_file(str(work / "data.bin"), "again.bin")
    with pytest.raises(errors.WaitTimeoutError):
        artifact.wait(0.1)
    artifact.metadata["rows"] = 2
    artifact.aliases.append("late")
    line.release()
    assert artifact.wait() is artifact
    assert (artifact.state, artifact.version, artifact.name) == ("COMMITTED", "v0", "d:v0")
    artifact.save()
    stored = modelyard.Api().artifact("d:late")
    assert (stored.metadata, sorted(stored.aliases), stored.tags) == (
        {"rows": 2}, ["best", "late", "latest"], ["raw"],
    )  # fmt: skip
    assert stored.description == "what"


def test_members_of_a_version_wait_until_it_is_committed(work: Path, line: TcpProxy) -> None:
    written(work / "data.bin")
    run = modelyard.init()
    artifact = run.log_artifact(work / "data.bin", "d", "dataset")
    assert artifact.qualified_name == f"{run.entity}/{run.project}/d:v0"
    assert artifact.link("d-linked").source_version == "v0"


def test_small_and_known_content_is_committed_at_once(work: Path, line: TcpProxy) -> None:
    written(work / "large.bin")
    (work / "small.bin").write_bytes(b"small")
    run = modelyard.init()
    first = run.log_artifact(work / "large.bin", "large", "dataset").wait()

    def is_known() -> bool:
        again = run.log_artifact(work / "large.bin", "large", "dataset")
        return again.state == "COMMITTED" or again.wait() is None

    until(is_known)  # a file that has just been written is read again
    assert run.log_artifact(work / "small.bin", "small", "dataset").state == "COMMITTED"
    assert modelyard.Api().artifact("large").id == first.id
    assert staged(work) == []


def test_nothing_waits_where_background_uploads_are_off(
    work: Path, line: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_BACKGROUND_UPLOADS", "off")
    written(work / "data.bin")
    run = modelyard.init()
    assert run.log_artifact(work / "data.bin", "d", "dataset").state == "COMMITTED"


def test_a_disk_without_room_for_a_copy_gets_none(
    work: Path, line: TcpProxy, disk_factory: DiskFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = disk_factory("small", 64 * MIB)
    monkeypatch.setenv("MODELYARD_DIR", str(disk.path))
    content = written(work / "data.bin")
    run = modelyard.init()
    assert run.log_artifact(work / "data.bin", "d", "dataset").state == "COMMITTED"
    assert read("d") == content
    assert not list(disk.path.glob("modelyard/*/artifacts/*"))


def test_a_disk_that_fills_up_meanwhile_costs_no_version(
    own: Own, disk_factory: DiskFactory, monkeypatch: pytest.MonkeyPatch, capsys: Warnings
) -> None:
    server = own(SLOW)
    disk = disk_factory("small", 2 << 30)  # a copy leaves a GiB free, which needs no memory here
    monkeypatch.setenv("MODELYARD_DIR", str(disk.path))
    run = modelyard.init(project="full")
    contents = [written(Path(f"{name}.bin")) for name in ("first", "second")]
    first, second = (run.log_artifact(f"{name}.bin", name, "dataset") for name in ("first", "second"))
    taken = pb.ModelArtifact(entity=run.entity, project=run.project, name="second", type="model")
    server.stubs().artifacts.CreateModelArtifact(pb.CreateModelArtifactRequest(model_artifact=taken))
    Path("third.bin").write_bytes(b"third")
    disk.shrink()
    disk.fill()
    assert first.wait(SECONDS).version == "v0"
    with pytest.raises(errors.TypeMismatch):
        second.wait(SECONDS)
    assert run.log_artifact("third.bin", "third", "dataset").version == "v0"
    run.finish()
    assert read("full/first") == contents[0]
    assert "1 call about artifacts of run" in capsys.readouterr().err
    disk.empty()
    sync_left = json_of("sync", str(disk.path))
    assert [(sent["calls"], sent["calls_refused"]) for sent in sync_left] == [(1, 1)]
    assert not modelyard.Api().artifact_exists("full/first:v1")


# What is refused.


def test_a_version_that_is_refused_is_refused_at_once(work: Path, line: TcpProxy) -> None:
    written(work / "data.bin")
    run = modelyard.init()
    run.log_artifact(work / "data.bin", "d", "dataset").wait()
    written(work / "data.bin")
    with pytest.raises(ValueError, match="has the type 'dataset'"):
        run.log_artifact(work / "data.bin", "d", "other")
    with pytest.raises(AssertionError, match="needs a type that contains 'model'"):
        run.log_model(work / "data.bin", "d")
    modelyard.Api().run(run.path).delete()
    with pytest.raises(errors.NotFound):
        run.log_artifact(work / "data.bin", "d", "dataset")
    assert staged(work) == []


def test_a_type_is_refused_at_once_that_a_waiting_version_excludes(own: Own) -> None:
    own(SLOW)
    written(Path("data.bin"))
    run = modelyard.init()
    run.log_artifact("data.bin", "d", "dataset")
    with pytest.raises(ValueError, match="has the type 'dataset'"):
        run.log_artifact("data.bin", "d", "other")
    with pytest.raises(AssertionError, match="needs a type that contains 'model'"):
        run.log_model("data.bin", "d")
    assert len(staged(Path())) == 1


def test_an_upload_that_is_refused_later_is_reported_and_kept(
    work: Path, line: TcpProxy, any_live_server: LiveServer, capsys: Warnings
) -> None:
    content = written(work / "data.bin")
    run = modelyard.init()
    hold(line)
    artifact = run.log_artifact(work / "data.bin", "d", "dataset")
    taken = pb.ModelArtifact(entity=run.entity, project=run.project, name="d", type="model")
    any_live_server.stubs().artifacts.CreateModelArtifact(pb.CreateModelArtifactRequest(model_artifact=taken))
    line.release()
    with pytest.raises(errors.TypeMismatch):
        artifact.wait()
    run.finish()
    said = capsys.readouterr().err
    assert said.count("log of d was refused") == 1
    assert "1 call about artifacts of run" in said
    assert "Synced 0 metric rows, 0 artifact versions" in said
    assert (modelyard.Api().run(run.path).state, modelyard.Api().run(run.path)._record.exit_code) == (
        "finished",
        0,
    )
    (sent,) = sync()
    assert (sent["calls"], sent["calls_refused"]) == (0, 1)
    (kept,) = work.glob("modelyard/run-*/artifacts/*/0")
    assert kept.read_bytes() == content


class Failing(io.StringIO):
    """A stream of a program's own, which fails."""

    def write(self, text: str, /) -> int:
        """Fails."""
        raise RuntimeError("no stream")


def test_a_stream_that_fails_does_not_end_the_uploads(
    work: Path, line: TcpProxy, any_live_server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        written(work / f"{name}.bin")
    run = modelyard.init()
    hold(line)
    first = run.log_artifact(work / "first.bin", "first", "dataset")
    until(lambda: line.is_holding)
    taken = pb.ModelArtifact(entity=run.entity, project=run.project, name="first", type="model")
    any_live_server.stubs().artifacts.CreateModelArtifact(pb.CreateModelArtifactRequest(model_artifact=taken))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Failing())
        line.release()
        with pytest.raises(errors.TypeMismatch):
            first.wait(SECONDS)
        assert run.log_artifact(work / "second.bin", "second", "dataset").wait(SECONDS).version == "v0"


# In which order.


def test_versions_of_one_name_are_made_in_the_order_of_their_calls(own: Own) -> None:
    own(SLOW)
    run = modelyard.init()
    first = written(Path("model.bin"))
    run.log_model("model.bin", "m")
    second = written(Path("model.bin"))
    run.log_model("model.bin", "m")
    Path("model.bin").write_bytes(b"small")
    run.log_model("model.bin", "m")
    assert len(staged(Path())) == 3
    run.finish()
    assert [read(f"m:v{number}") for number in range(3)] == [first, second, b"small"]
    assert modelyard.Api().artifact("m").version == "v2"


def test_incremental_versions_that_wait_build_on_each_other(own: Own) -> None:
    own(SLOW)
    run = modelyard.init()
    for number in range(3):
        written(Path(f"{number}.bin"))
        artifact = modelyard.Artifact("d", "dataset", incremental=True)
        artifact.add_file(f"{number}.bin")
        run.log_artifact(artifact)
    assert sorted(artifact.wait().manifest.entries) == ["0.bin", "1.bin", "2.bin"]
    assert artifact.version == "v2"


def test_a_script_reads_what_it_has_logged(work: Path, line: TcpProxy) -> None:
    run = modelyard.init()
    content = written(work / "model.bin")
    run.log_model(work / "model.bin", "m")
    (work / "model.bin").unlink()
    assert Path(run.use_model("m:latest")).read_bytes() == content
    content = written(work / "model.bin")
    run.log_model(work / "model.bin", "m")
    assert modelyard.Api().artifact("m").version == "v1"
    written(work / "model.bin")
    run.log_model(work / "model.bin", "m")
    assert Path(run.use_model("m:v2")).exists()
    written(work / "model.bin")
    run.log_model(work / "model.bin", "m")
    assert numbers("m") == ["v3", "v2", "v1", "v0"]
    written(work / "model.bin")
    run.log_model(work / "model.bin", "m")
    assert len(modelyard.Api().run(run.path).logged_artifacts()) == 5


def test_an_earlier_version_is_read_while_a_later_one_waits(work: Path, line: TcpProxy) -> None:
    run = modelyard.init()
    (work / "model.bin").write_bytes(b"first")
    run.log_model(work / "model.bin", "m")
    written(work / "model.bin")
    line.bytes_per_second = 3 * MIB
    run.log_model(work / "model.bin", "m")
    assert modelyard.Api().artifact("m:v0").version == "v0"
    assert staged(work)


def test_link_model_returns_the_link_after_the_versions_before_it(work: Path, line: TcpProxy) -> None:
    run = modelyard.init()
    written(work / "model.bin")
    run.log_model(work / "model.bin", "m")
    written(work / "model.bin")
    link = run.link_model(work / "model.bin", f"Linked {run.id}", "m", aliases=["staging"])
    assert link is not None
    assert (link.source_version, sorted(link.aliases)) == ("v1", ["latest", "staging"])
    run.finish()


def test_aliases_and_links_follow_the_last_call_although_an_earlier_one_waits(own: Own) -> None:
    server = own()
    run = modelyard.init(project="order")
    Path("model.bin").write_bytes(b"first")
    first = run.log_artifact("model.bin", "m", "model")
    server.kill()
    Path("model.bin").write_bytes(b"second")
    run.log_model("model.bin", "m", aliases=["best"])
    assert run.link_model("model.bin", "Order", "m") is None
    server.start()
    first.aliases.append("best")
    first.save()
    link = run.link_artifact(first, "model-registry/Order")
    assert (first.version, modelyard.Api().artifact("order/m:best").version) == ("v0", "v0")
    assert link.version == "v1"
    assert modelyard.Api().artifact("model-registry/Order:latest").source_version == "v0"


def test_rows_are_stored_while_a_large_upload_is_stalled(own: Own) -> None:
    own(SLOW)
    written(Path("data.bin"))
    run = modelyard.init(project="rows")
    artifact = run.log_artifact("data.bin", "d", "dataset")
    for step in range(100):
        run.log({"a": step})
    until(lambda: len(list(modelyard.Api().run(run.path).scan_history())) == 100)
    assert artifact.state == "PENDING"
    assert artifact.wait().version == "v0"


# A server that is away.


def test_a_server_that_is_away_delays_neither_logging_nor_linking(own: Own, capsys: Warnings) -> None:
    server = own()
    run = modelyard.init(project="away")
    server.kill()
    content = written(Path("model.bin"))
    run.log_model("model.bin", "m", aliases=["best"])
    Path("model.bin").write_bytes(b"small")
    artifact = run.log_artifact("model.bin", "d", "dataset")
    link = run.link_model("model.bin", "Away", "m", aliases=["staging"])
    Path("model.bin").unlink()
    assert (artifact.state, link) == ("PENDING", None)
    assert capsys.readouterr().err.count("What the run logs is kept") == 1
    server.start()
    run.finish()
    assert "3 artifact versions, 1 link" in capsys.readouterr().err
    assert read("away/m:best") == content
    linked = modelyard.Api().artifact("model-registry/Away:staging")
    assert (linked.source_name, linked.source_project) == ("m:v1", "away")
    assert artifact.version == "v0"


def test_finish_says_what_is_left_when_the_server_stays_away(
    own: Own, monkeypatch: pytest.MonkeyPatch, capsys: Warnings
) -> None:
    monkeypatch.setenv("MODELYARD_FINISH_TIMEOUT", "0.5")
    server = own()
    run = modelyard.init(project="away")
    run.log({"a": 1})
    server.kill()
    content = written(Path("model.bin"))
    artifact = run.log_artifact("model.bin", "m", "model")
    run.finish()
    said = capsys.readouterr().err
    assert "1 call about artifacts of run" in said
    assert "All is kept; this makes them: modelyard sync" in said
    with pytest.raises(errors.CommError, match="modelyard sync"):
        artifact.wait()
    server.start()
    assert [sent["calls"] for sent in sync()] == [1]
    assert read("away/m") == content
    assert (modelyard.Api().run(run.path).state, sync()) == ("finished", [])


def test_the_folder_is_free_when_finish_gave_up_on_a_server_that_does_not_answer(
    work: Path, line: TcpProxy, monkeypatch: pytest.MonkeyPatch, capsys: Warnings
) -> None:
    monkeypatch.setenv("MODELYARD_FINISH_TIMEOUT", "0.5")
    run = modelyard.init()
    line.hold_after = line.received
    run.log({"a": 1})
    (work / "notes.txt").write_text("notes")
    run.save(work / "notes.txt", policy="now")
    until(lambda: line.is_holding)
    run.finish()
    assert "and the end of run" in capsys.readouterr().err
    (folder,) = work.glob("modelyard/run-*")
    lock = RunFolder(folder).lock()
    assert lock is not None
    lock.release()
    line.release()
    assert [sent["state"] for sent in sync()] == ["finished"]
    found = modelyard.Api().run(run.path)
    assert [row["a"] for row in found.scan_history()] == [1]
    assert "work/notes.txt" in [file.name for file in found.files()]


# Ends of the process.

START = """
import os, signal, sys, time
import modelyard
run = modelyard.init()
print(run.path, flush=True)
"""
LOG_LARGE = """
run.log({"a": 1})
run.log_model("model.bin", "m", aliases=["best"])
os.unlink("model.bin")
print("logged", flush=True)
"""

SHORT_STEPS = """
for _ in range(600):
    time.sleep(0.1)  # a signal that comes just before a long sleep is handled after it
"""


def _killed_after_logging(number: signal.Signals) -> str:
    """The path of a run whose process got a signal right after log_model had returned."""
    with start_python("-c", START + LOG_LARGE + SHORT_STEPS, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        path: str = process.stdout.readline().strip()
        assert process.stdout.readline() == "logged\n"
        process.send_signal(number)
        process.wait(20)
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_loses_nothing_that_log_model_has_returned(
    work: Path, line: TcpProxy, number: signal.Signals
) -> None:
    content = written(work / "model.bin")
    line.hold_after = 3 * MIB
    path = _killed_after_logging(number)
    line.release()
    (sent,) = sync()
    assert (sent["calls"], sent["calls_refused"]) == (1, 0)
    assert sent["state"] == ("crashed" if number == signal.SIGKILL else "killed")
    assert read("m:best") == content
    assert [artifact.name for artifact in modelyard.Api().run(path).logged_artifacts()] == ["m:v0"]
    assert sync() == []
    assert not list(work.glob("modelyard/run-*/artifacts"))


def test_a_call_that_was_made_but_not_noted_has_no_second_effect(work: Path, line: TcpProxy) -> None:
    written(work / "model.bin")
    line.hold_after = 3 * MIB
    _killed_after_logging(signal.SIGKILL)
    line.release()
    (folder,) = work.glob("modelyard/run-*")
    shutil.copytree(folder, work / "before")
    (first,) = sync()
    shutil.rmtree(folder)
    shutil.copytree(work / "before", folder)
    (again,) = sync()
    assert (first["calls"], again["calls"], again["calls_refused"]) == (1, 1, 0)
    assert numbers("m") == ["v0"]


def test_an_incomplete_copy_is_not_logged(work: Path, line: TcpProxy) -> None:
    written(work / "model.bin")
    line.hold_after = 3 * MIB
    _killed_after_logging(signal.SIGKILL)
    line.release()
    (copy,) = work.glob("modelyard/run-*/artifacts/*/0")
    os.truncate(copy, MIB)  # as a machine without power leaves it
    (sent,) = sync()
    assert (sent["calls"], sent["calls_refused"]) == (0, 1)
    assert not modelyard.Api().artifact_exists("m")


IN_AN_EXCEPTION = """
with modelyard.init() as run:
    print(run.path, flush=True)
    run.log_model("model.bin", "m")
    raise ValueError
"""


def test_a_run_that_fails_sends_what_waits(work: Path, line: TcpProxy) -> None:
    content = written(work / "model.bin")
    done = run_python("-c", "import modelyard" + IN_AN_EXCEPTION, timeout=SECONDS)
    assert modelyard.Api().run(done.stdout.strip()).state == "failed"
    assert read("m") == content


FORKED = """
artifact = run.log_artifact("model.bin", "m", "model")
child = os.fork()
if child == 0:
    os.write(1, f"{artifact.state} {artifact.wait().name}\\n".encode())
    other = modelyard.Artifact("other", "model")
    with other.new_file("w", mode="wb") as file:
        file.write(os.urandom(6 << 20))
    os.write(1, f"{run.log_artifact(other).state}\\n".encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(artifact.wait().name)
run.finish()
"""


def test_a_forked_child_waits_for_its_parents_upload_and_sends_its_own_at_once(own: Own) -> None:
    own(SLOW)
    written(Path("model.bin"))
    done = run_python("-c", START + FORKED, timeout=SECONDS)
    assert done.stdout.splitlines()[1:] == ["PENDING m:v0", "COMMITTED", "m:v0"], done.stderr


SPAWNED = """
import multiprocessing

def child(artifact):
    print(artifact.state, artifact.wait().name, flush=True)

if __name__ == "__main__":
    import modelyard
    run = modelyard.init()
    artifact = run.log_artifact("model.bin", "m", "model")
    process = multiprocessing.get_context("spawn").Process(target=child, args=(artifact,))
    process.start()
    process.join()
    assert process.exitcode == 0
    run.finish()
"""


def test_a_spawned_child_waits_for_an_artifact_that_it_was_given(own: Own) -> None:
    own(SLOW)
    written(Path("model.bin"))
    Path("script.py").write_text(SPAWNED)
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.stdout.split()[1:] == ["m:v0"], done.stderr
