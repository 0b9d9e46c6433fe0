"""`wandb.apis.public.artifacts`."""

from modelyard.registry.artifact_type import ArtifactType
from modelyard.registry.collection import ArtifactCollection

__all__ = ["ArtifactCollection", "ArtifactType"]
