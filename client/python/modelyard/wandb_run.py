"""`wandb.wandb_run`: the class of runs, where Lightning looks for it."""

from modelyard.runs.run import Run

__all__ = ["Run"]
