"""Kills a training and resumes it, compares it with another one, and links the better model."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import modelyard

HERE = Path(__file__).resolve().parent
PROJECT = "spirals"


def main() -> None:
    """The example, step by step."""
    options = argparse.ArgumentParser()
    options.add_argument("--trainer", default="train.py", choices=["train.py", "train_torch.py"])
    options.add_argument("--epochs", type=int, default=30)
    args = options.parse_args()
    group = f"compare-{uuid.uuid4().hex[:8]}"
    os.environ |= {"MODELYARD_PROJECT": PROJECT, "MODELYARD_RUN_GROUP": group}

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # what a killed run had not sent is in the folder `modelyard` until it is resumed
        print("1. A training is killed after some epochs (kill -9), and started again with the same id.")
        train(args.trainer, f"{group}-a", lr=0.01, epochs=args.epochs, kill_after=args.epochs // 2)
        train(args.trainer, f"{group}-a", lr=0.01, epochs=args.epochs)
        print("2. Another training, with a lower learning rate.")
        train(args.trainer, f"{group}-b", lr=0.0003, epochs=args.epochs)
        os.chdir(HERE)

    print("3. Both are compared, the better one first.")
    runs = modelyard.Api().runs(PROJECT, filters={"group": group}, order="-summary_metrics.val.accuracy.max")
    for run in runs:
        # One that was killed before its checkpoint was kept is there twice.
        epochs = {row["epoch"] for row in run.scan_history(keys=["epoch", "val.accuracy"])}
        best = run.summary["val"]["accuracy"]["max"]
        print(f"{run.id}: {run.state}, lr {run.config['lr']}, {len(epochs)} epochs, best accuracy {best:.3f}")

    print("4. The model of the better one goes to the registry.")
    model = next(artifact for artifact in runs[0].logged_artifacts() if artifact.type == "model")
    linked = model.link("model-registry/Spirals", aliases=["staging"])
    print(f"{linked.qualified_name} is {linked.source_qualified_name} of {runs[0].id}")


def train(trainer: str, run_id: str, *, lr: float, epochs: int, kill_after: int | None = None) -> None:
    """Runs a training in a process of its own, to its end or until `kill_after` epochs are done."""
    command = [sys.executable, str(HERE / trainer), "--id", run_id, "--lr", str(lr), "--epochs", str(epochs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"   {line.rstrip()}", flush=True)
            if line.startswith(f"epoch {kill_after} "):
                process.send_signal(signal.SIGKILL)
                print("   killed", flush=True)
                return
    if process.returncode:
        sys.exit(f"{trainer} failed with exit code {process.returncode}")


if __name__ == "__main__":
    main()
