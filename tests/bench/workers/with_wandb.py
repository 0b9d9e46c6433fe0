"""W&B's side, offline: what its documentation shows. Runs in W&B's own environment."""

from __future__ import annotations

import wandb

from tests.bench.workers import logged_images, whole_run
from tests.bench.workers.orders import obey

if __name__ == "__main__":
    obey({"whole_run": whole_run.of(wandb), "logged_images": logged_images.of(wandb)})
