"""`wandb.apis.public.files`."""

from modelyard.public_runs.files import PublicFile as File

__all__ = ["File"]
