"""`wandb.sdk.wandb_run`: the class of runs."""

from modelyard.runs.run import Run
from modelyard.session import finish

__all__ = ["Run", "finish"]
