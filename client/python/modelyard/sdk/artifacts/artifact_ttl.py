"""`wandb.sdk.artifacts.artifact_ttl`."""

from modelyard.artifacts.artifact import ArtifactTTL

__all__ = ["ArtifactTTL"]
