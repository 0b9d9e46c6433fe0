"""The examples run as their pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard import Api

EXAMPLES = Path(__file__).parents[2] / "examples"
EPOCHS = 8


@pytest.mark.parametrize(
    "trainer", ["train.py", pytest.param("train_torch.py", marks=pytest.mark.optional("torch"))]
)
def test_a_training_is_killed_resumed_compared_and_its_model_linked(embedded: Path, trainer: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "resume/compare.py", "--trainer", trainer, "--epochs", str(EPOCHS)],
        env={key: value for key, value in os.environ.items() if key != "MODELYARD_SILENT"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"   killed\n   resumed after epoch \d+\n", done.stdout)
    linked = Api().artifact("model-registry/Spirals:staging")
    runs = Api().runs("spirals", order="+created_at")
    resumed, other = runs[-2:]
    better = max(resumed, other, key=lambda run: run.summary["val"]["accuracy"]["max"])
    producer = linked.logged_by()
    assert producer is not None
    assert producer.id == better.id == resumed.id
    for run in (resumed, other):
        assert run.state == "finished"
        # An epoch is logged again if the process was killed before its checkpoint was kept.
        epochs = {row["epoch"] for row in run.scan_history(keys=["epoch", "val.accuracy"])}
        assert epochs == set(range(EPOCHS))
        steps = [row["_step"] for row in run.scan_history(keys=["_step", "train.loss"])]
        assert steps == sorted(set(steps))
    assert re.search(rf"{resumed.id}: finished, lr 0.01, {EPOCHS} epochs", done.stdout)
    used = {artifact.name.partition(":")[0] for artifact in resumed.used_artifacts()}
    assert used == {f"checkpoint-{resumed.id}"}
