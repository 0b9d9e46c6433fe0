"""Runs without a server, and how they get to one later."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import errors
from modelyard.api import PublicRun
from tests.clients.commands import COMMAND, json_of, run_command
from tests.parts.embedded import isolate

SECONDS = 120


def _sync(*arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json_of("sync", *map(str, arguments))
    return found


def _stored(path: str) -> PublicRun:
    return modelyard.Api().run(path)


def test_an_incremental_version_whose_commit_was_not_noted_is_made_once(work: Path) -> None:
    modelyard.init().log_artifact(_incremental("base"))
    modelyard.finish()
    run = modelyard.init(mode="offline")
    run.log_artifact(_incremental("more"))
    run.finish()
    (folder,) = work.glob("modelyard/offline-run-*")
    shutil.copytree(folder, work / "before")
    _sync(folder)
    stage = next(folder.glob("artifacts/*"))
    shutil.copy(stage / "base.json", next((work / "before").glob("artifacts/*")) / "base.json")
    shutil.rmtree(folder)
    shutil.copytree(work / "before", folder)  # as after a kill between the commit and its note
    (again,) = _sync(folder)
    assert again["calls_refused"] == 0
    assert sorted(modelyard.Api().artifact("inc").manifest.entries) == ["base", "more"]
    assert modelyard.Api().artifact("inc").version == "v1"


def _incremental(file: str) -> modelyard.Artifact:
    artifact = modelyard.Artifact("inc", "dataset", incremental=True)
    with artifact.new_file(file) as content:
        content.write(file)
    return artifact


def _log_everything(work: Path) -> Any:
    """An offline run with rows, changes, artifacts and links; the files are deleted then."""
    run = modelyard.init(mode="offline", config={"lr": 0.1}, name="first", tags=["a"], group="g", notes="n")
    run.define_metric("val", summary="min,max")
    for step in range(100):
        run.log({"a": step, "val": abs(50 - step) / 2, "nested": {"x": step}})
    run.config["later"] = [1, 2]
    run.summary["best"] = {"by": "hand"}
    model, data = work / "model.bin", work / "data"
    model.write_bytes(b"first weights")
    data.mkdir()
    (data / "train.csv").write_text("1,2")
    (data / "deep").mkdir()
    (data / "deep" / "test.csv").write_text("3,4")
    run.log_model(model, name="m", aliases=["early"])
    model.write_bytes(b"other weights")
    run.log_model(model, name="m", aliases="late")
    run.link_model(model, f"Registered {run.id}", name="m", aliases=["staging"])
    artifact = modelyard.Artifact("d", "dataset", description="what", metadata={"rows": 2})
    artifact.add_dir(str(data))
    artifact.add_reference("file:///etc/hostname", name="host")
    run.log_artifact(artifact, aliases=["best"], tags=["t"])
    model.unlink()
    shutil.rmtree(data)
    run.tags += ("b",)
    run.finish()
    return run


def test_an_offline_run_is_sent_whole_and_once(work: Path) -> None:
    run = _log_everything(work)
    assert (run.offline, run.mode, run.disabled) == (True, "offline", False)
    (folder,) = work.glob("modelyard/offline-run-*")
    (sent,) = _sync(folder)
    assert (sent["rows"], sent["calls"], sent["calls_refused"], sent["state"]) == (100, 5, 0, "finished")
    stored = _stored(sent["path"])
    assert (stored.name, stored.tags, stored.group, stored.notes) == ("first", ["a", "b"], "g", "n")
    assert stored.config == {"lr": 0.1, "later": [1, 2]}
    assert [row["a"] for row in stored.scan_history(keys=["a"])] == list(range(100))
    assert stored.summary == dict(run.summary)
    assert (stored.summary["val"], stored.summary["nested"]) == ({"min": 0.0, "max": 25.0}, {"x": 99})
    place = sent["path"].rpartition("/")[0]
    first, second = (modelyard.Api().artifact(f"{place}/m:v{number}") for number in (0, 1))
    assert (first.aliases, set(second.aliases)) == (["early"], {"late", "latest"})
    assert Path(second.file()).read_bytes() == b"other weights"
    linked = modelyard.Api().artifact(f"model-registry/Registered {run.id}:staging")
    assert (linked.version, linked.source_qualified_name) == ("v0", second.qualified_name)
    data = modelyard.Api().artifact(f"{place}/d:best")
    assert sorted(data.manifest.entries) == ["deep/test.csv", "host", "train.csv"]
    assert (data.description, data.metadata, data.tags) == ("what", {"rows": 2}, ["t"])
    logged_by = data.logged_by()
    assert logged_by is not None
    assert logged_by.id == run.id
    assert _sync(folder) == []
    assert "1 run sent before" in run_command("sync").stderr
    assert len(list(_stored(sent["path"]).scan_history())) == 100


def test_a_sync_of_an_offline_run_may_be_killed_at_any_time(work: Path) -> None:
    run = _log_everything(work)
    generator = random.Random(4)
    for _ in range(6):
        with subprocess.Popen([sys.executable, *COMMAND, "sync"], stderr=subprocess.DEVNULL) as process:
            time.sleep(0.4 + generator.random() * 0.6)
            process.send_signal(signal.SIGKILL)
    _sync()
    stored = _stored(f"{run.project}/{run.id}")
    assert [row["a"] for row in stored.scan_history(keys=["a"])] == list(range(100))
    assert stored.state == "finished"
    found = modelyard.Api().artifacts("model", f"{stored.entity}/{stored.project}/m")
    assert [version.version for version in found] == ["v1", "v0"]
    link = modelyard.Api().artifact(f"model-registry/Registered {run.id}:latest")
    assert (link.version, sorted(link.aliases)) == ("v0", ["latest", "staging"])


def test_a_run_that_goes_on_may_be_sent_meanwhile(work: Path) -> None:
    run = modelyard.init(mode="offline")
    run.log({"a": 0})
    (first,) = _sync()
    assert (first["rows"], first["state"]) == (1, "running")
    run.log({"a": 1})
    (second,) = _sync()
    assert second["rows"] == 1
    run.log({"a": 2}, step=9)
    run.finish(exit_code=2)
    (third,) = _sync()
    assert (third["rows"], third["state"]) == (1, "failed")
    assert [row["a"] for row in _stored(third["path"]).scan_history()] == [0, 1, 2]


def test_an_offline_run_that_was_killed_is_sent_as_crashed(work: Path) -> None:
    script = (
        "import modelyard, os\nrun = modelyard.init(mode='offline')\nfor a in range(50): run.log({'a': a})\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], timeout=SECONDS, check=False)
    (sent,) = _sync()
    assert (sent["rows"], sent["state"]) == (50, "crashed")


def test_scripts_for_wandb_run_offline_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MODELYARD_URL", "grpc://192.0.2.1:7600")  # an address that nobody answers on
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(tmp_path / "data"))
    script = """
import modelyard as wandb
run = wandb.init(project="p", config={"a": 1})
wandb.log({"loss": 1})
open("m.h5", "w").write("x")
run.log_model("m.h5", name="m")
run.link_model("m.h5", "M")
wandb.finish()
print("done")
"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
    assert time.monotonic() - began < 20
    assert "modelyard sync" in done.stderr
    assert not (tmp_path / "data").exists(), "no server was started"


def test_what_was_downloaded_before_may_be_used_offline(work: Path) -> None:
    (work / "model.bin").write_bytes(os.urandom(1000))
    with modelyard.init() as run:
        run.log_model(work / "model.bin", name="used")
        run.use_model("used:v0")
        ref = f"{run.entity}/{run.project}/used:v0"
    offline = modelyard.init(mode="offline", entity=run.entity, project=run.project)
    shutil.rmtree(work / "artifacts")
    path = offline.use_model(ref)
    assert Path(path).read_bytes() == (work / "model.bin").read_bytes()
    assert offline.use_artifact("used:v0").source_qualified_name == ref
    with pytest.raises(RuntimeError, match="offline"):
        offline.use_model("used:latest")
    with pytest.raises(TypeError, match="offline"):
        offline.use_artifact("never:v7")
    with pytest.raises(NotImplementedError):
        offline.link_artifact(modelyard.Artifact("a", "model"), "M")
    with pytest.raises(AssertionError, match="Do not append the entity"):
        offline.link_model(path, "a/b")
    with pytest.raises(ValueError, match="Invalid name"):
        offline.log_model(path, name="not valid!")
    offline.finish()
    (sent,) = _sync()
    assert sent["calls"] == 2
    users = modelyard.Api().artifact(ref).used_by()
    assert {user.id for user in users} == {run.id, offline.id}


def test_a_call_that_the_server_refuses_costs_the_others_nothing(work: Path) -> None:
    (work / "file").write_text("x")
    with modelyard.init() as run:
        run.log_artifact(work / "file", name="taken", type="dataset")
    offline = modelyard.init(mode="offline", entity=run.entity, project=run.project)
    offline.log_model(work / "file", name="taken")
    offline.log_model(work / "file", name="fine")
    offline.finish()
    done = run_command("sync")
    assert "1 call about artifacts made, 1 call about artifacts refused; the run is finished" in done.stdout
    assert "log of taken was refused: the name holds artifacts of type 'dataset'" in done.stderr
    assert modelyard.Api().artifact(f"{run.entity}/{run.project}/fine:v0").type == "model"


def test_an_offline_id_that_is_taken_is_said(work: Path) -> None:
    with modelyard.init(id="taken-id") as run:
        pass
    place = {"entity": run.entity, "project": run.project}
    with modelyard.init(id="taken-id", mode="offline", resume="never", **place):
        pass
    assert run_command("sync").returncode == 1
    with pytest.raises(errors.UsageError, match="mode must be"):
        modelyard.init(mode="nowhere")
