"""`wandb.apis.public.users`."""

from modelyard.registry.project import User

__all__ = ["User"]
