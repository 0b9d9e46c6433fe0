"""`wandb.sdk.data_types.video`: films; scripts take `generate_id` from its `util`, too."""

from modelyard import util
from modelyard.media.video import Video

__all__ = ["Video", "util"]
