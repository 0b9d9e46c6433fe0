"""`wandb.sdk.artifacts.artifact`: the class of artifacts."""

from modelyard.artifacts.artifact import Artifact

__all__ = ["Artifact"]
