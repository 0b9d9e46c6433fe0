"""`wandb.sdk.lib.paths`: types of paths, for annotations."""

import os

StrPath = str | os.PathLike[str]

__all__ = ["StrPath"]
