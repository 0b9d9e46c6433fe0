"""`wandb.apis.public.runs`."""

from modelyard.public_runs.public_run import PublicRun as Run
from modelyard.public_runs.runs import Runs

__all__ = ["Run", "Runs"]
