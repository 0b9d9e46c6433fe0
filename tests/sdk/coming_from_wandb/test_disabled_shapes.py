"""Calls of a disabled run return what the same calls of an online run return, in kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard as wandb
from modelyard.runs.run import Run

CALLS: dict[str, Callable[[Run], Any]] = {
    "alert": lambda run: run.alert("title", "text"),
    "define_metric": lambda run: run.define_metric("loss", summary="min"),
    "display": lambda run: run.display(),
    "get_project_url": lambda run: run.get_project_url(),
    "get_sweep_url": lambda run: run.get_sweep_url(),
    "get_url": lambda run: run.get_url(),
    "project_name": lambda run: run.project_name(),
    "finish_artifact": lambda run: run.finish_artifact("w.bin", "parts", "model", distributed_id="x"),
    "lineage": lambda run: run.lineage(),
    "link_artifact": lambda run: run.link_artifact(_draft(), f"model-registry/L {run.project}"),
    "link_model": lambda run: run.link_model("w.bin", f"M {run.project}", aliases=["staging"]),
    "log": lambda run: run.log({"loss": 1}),
    "log_artifact": lambda run: run.log_artifact(_draft(), aliases=["best"]),
    "log_artifact of a path": lambda run: run.log_artifact("w.bin", "w", "dataset"),
    "log_code": lambda run: run.log_code("."),
    "log_model": lambda run: run.log_model("w.bin", "m"),
    "mark_preempting": lambda run: run.mark_preempting(),
    "restore": lambda run: run.restore("no such file"),
    "save": lambda run: run.save("w.bin", policy="now"),
    "status": lambda run: run.status(),
    "to_html": lambda run: run.to_html(),
    "unwatch": lambda run: run.unwatch(),
    "upsert_artifact": lambda run: run.upsert_artifact("w.bin", "parts", "model", distributed_id="x"),
    "use_artifact": lambda run: run.use_artifact("m:latest"),
    "use_model": lambda run: run.use_model("m"),
    "watch": lambda run: run.watch(None),
    "write_logs": lambda run: run.write_logs("line\n"),
}  # fmt: skip
RUN_MEMBERS = [
    name for name in dir(Run) if not name.startswith("_") and isinstance(getattr(Run, name), property)
]
ARTIFACT_MEMBERS = [
    name
    for name in dir(wandb.Artifact)
    if not name.startswith("_") and isinstance(getattr(wandb.Artifact, name), property)
]


def _draft() -> wandb.Artifact:
    artifact = wandb.Artifact("a", "model", description="why", metadata={"acc": 1})
    artifact.add_file("w.bin")
    return artifact


@pytest.fixture
def runs(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Run]]:
    """An online run with the model `m`, and a disabled one of the same name and project."""
    Path("w.bin").write_bytes(b"weights")
    Path("train.py").write_text("print(1)")
    project = f"shapes-{embedded.parent.name}"
    options: dict[str, Any] = {"project": project, "config": {"lr": 0.1}, "notes": "n", "tags": ["t"]}
    online = wandb.init(**options, group="g", job_type="j")
    online.log_model("w.bin", "m")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    disabled = wandb.init(**options, group="g", job_type="j", reinit="create_new")
    assert (online.disabled, disabled.disabled) == (False, True)
    yield [online, disabled]
    for run in (disabled, online):
        run.finish()


def _kind(value: Any) -> Any:
    return wandb.Artifact if isinstance(value, wandb.Artifact) else type(value)


def test_every_call_returns_the_same_kind_of_object(runs: list[Run]) -> None:
    methods = {
        name for name in dir(Run) if not name.startswith("_") and not isinstance(getattr(Run, name), property)
    }
    assert methods - {"finish", "join", "pin_config_keys"} == {call.partition(" ")[0] for call in CALLS}
    kinds = {call: [_kind(made(run)) for run in runs] for call, made in CALLS.items()}
    assert {call: both for call, both in kinds.items() if both[0] is not both[1]} == {}


def test_every_property_of_a_run_is_of_the_same_kind(runs: list[Run]) -> None:
    found = {name: [type(getattr(run, name)) for run in runs] for name in RUN_MEMBERS}
    assert {name: both for name, both in found.items() if both[0] is not both[1]} == {}


@pytest.mark.parametrize("call", ["link_artifact", "link_model", "log_artifact", "use_artifact"])
def test_every_property_of_an_artifact_is_of_the_same_kind(runs: list[Run], call: str) -> None:
    online, disabled = (CALLS[call](run) for run in runs)
    optional = {"history_step", "ttl", "use_as", "description"}
    found = {
        name: (_kind(getattr(online, name)), _kind(getattr(disabled, name)))
        for name in ARTIFACT_MEMBERS
        if name not in optional
    }
    different = {name: both for name, both in found.items() if both[0] is not both[1]}
    assert {name for name in different if not name.endswith("collection")} == set()
    assert (online.name, online.is_link) == (disabled.name, disabled.is_link)
    assert online.qualified_name.split("/")[1:] == disabled.qualified_name.split("/")[1:]
