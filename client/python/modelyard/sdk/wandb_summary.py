"""`wandb.sdk.wandb_summary`: the class of summaries."""

from modelyard.runs.summary import Summary

__all__ = ["Summary"]
