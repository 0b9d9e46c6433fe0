"""`wandb.sdk.data_types.base_types`."""

from modelyard.sdk.data_types.base_types import media, wb_value

__all__ = ["media", "wb_value"]
