"""`wandb.sdk.artifacts`."""

from modelyard.sdk.artifacts import artifact, artifact_ttl

__all__ = ["artifact", "artifact_ttl"]
