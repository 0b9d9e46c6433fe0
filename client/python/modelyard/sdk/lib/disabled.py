"""`wandb.sdk.lib.disabled`: the class of runs with `mode="disabled"`, which are runs too."""

from modelyard.runs.disabled import DisabledRun as RunDisabled

__all__ = ["RunDisabled"]
