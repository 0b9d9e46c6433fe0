"""`wandb.sdk.data_types.html`."""

from modelyard.media.html import Html

__all__ = ["Html"]
