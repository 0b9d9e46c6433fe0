"""Trains a PyTorch model, logs its metrics, and keeps a checkpoint of each epoch to resume from."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from spirals import points

import modelyard
from modelyard import errors


def main() -> None:
    """Trains from the last checkpoint of the run, if it has one, to the last epoch."""
    options = argparse.ArgumentParser()
    options.add_argument("--id", required=True, help="id of the run; the same id resumes it")
    options.add_argument("--lr", type=float, default=0.01)
    options.add_argument("--epochs", type=int, default=30)
    args = options.parse_args()

    with modelyard.init(id=args.id, resume="allow", config={"lr": args.lr, "epochs": args.epochs}) as run:
        run.define_metric("val.accuracy", summary="max,last")
        torch.manual_seed(1)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 32),
            torch.nn.Tanh(),
            torch.nn.Linear(32, 32),
            torch.nn.Tanh(),
            torch.nn.Linear(32, 1),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=run.config["lr"])
        first = 0
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder, "checkpoint.pt")
            if run.resumed and (found := last_checkpoint(run)):
                state = torch.load(found, weights_only=True)
                model.load_state_dict(state["model"])
                optimizer.load_state_dict(state["optimizer"])
                first = state["epoch"] + 1
                print(f"resumed after epoch {state['epoch']}", flush=True)
            x, spiral = (torch.from_numpy(array).float() for array in points(2_000, seed=2))
            x_val, spiral_val = (torch.from_numpy(array).float() for array in points(500, seed=3))
            for epoch in range(first, run.config["epochs"]):
                order = torch.randperm(len(x))
                for batch in order.split(100):
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(
                        model(x[batch])[:, 0], spiral[batch]
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    run.log({"epoch": epoch, "train": {"loss": loss}})
                with torch.no_grad():
                    accuracy = ((model(x_val)[:, 0] > 0) == (spiral_val > 0.5)).float().mean()
                run.log({"epoch": epoch, "val": {"accuracy": accuracy}})
                torch.save(
                    {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch},
                    checkpoint,
                )
                run.log_artifact(checkpoint, name=f"checkpoint-{run.id}", type="checkpoint")
                print(f"epoch {epoch} accuracy {accuracy:.3f}", flush=True)
            torch.save(model.state_dict(), Path(folder, "spirals.pt"))
            run.log_model(Path(folder, "spirals.pt"), name="spirals")


def last_checkpoint(run: modelyard.Run) -> str | None:
    """The file of the run's last checkpoint; None if it was stopped before the first."""
    try:
        artifact = run.use_artifact(f"checkpoint-{run.id}:latest", type="checkpoint")
    except errors.NotFound:
        return None
    return artifact.file()


if __name__ == "__main__":
    main()
