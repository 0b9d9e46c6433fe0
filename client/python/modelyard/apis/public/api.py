"""`wandb.apis.public.api`."""

from modelyard.api import Api

__all__ = ["Api"]
