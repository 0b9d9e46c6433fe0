"""`wandb.sdk.data_types.molecule`."""

from modelyard.media.molecule import Molecule

__all__ = ["Molecule"]
