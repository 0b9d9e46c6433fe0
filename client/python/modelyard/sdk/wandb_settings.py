"""`wandb.sdk.wandb_settings`: the class of settings."""

from modelyard.configuration.settings import Settings

__all__ = ["Settings"]
