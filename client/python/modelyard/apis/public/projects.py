"""`wandb.apis.public.projects`."""

from modelyard.registry.project import Project

__all__ = ["Project"]
