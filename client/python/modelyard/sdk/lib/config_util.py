"""`wandb.sdk.lib.config_util`: the error of a changed config."""

from modelyard.contract.errors import ConfigError

__all__ = ["ConfigError"]
