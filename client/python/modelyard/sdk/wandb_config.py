"""`wandb.sdk.wandb_config`: the class of configs."""

from modelyard.runs.config import Config

__all__ = ["Config"]
