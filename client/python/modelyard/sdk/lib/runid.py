"""`wandb.sdk.lib.runid`: ids for runs."""

from modelyard.util import generate_id

__all__ = ["generate_id"]
