"""`wandb.sdk.lib`: what libraries import from it."""

from modelyard.sdk.lib import config_util, disabled, paths, runid, telemetry
from modelyard.sdk.lib.disabled import RunDisabled

__all__ = ["RunDisabled", "config_util", "disabled", "paths", "runid", "telemetry"]
