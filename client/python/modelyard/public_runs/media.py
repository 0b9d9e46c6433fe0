"""Media of runs: the values that rows have maps for, from files that are downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.media.stored import StoredMedia
from modelyard.public_runs.files import PublicFile


def restored(value: Any, root: str | os.PathLike[str], file: Callable[[str], PublicFile]) -> Any:
    """A value with media instead of the maps that stand for them; see `PublicRun.media`."""

    def fetch(path: str) -> Path:
        # The name of a file has the hash of its content: one that is there need not be fetched.
        file(path).download(root, exist_ok=True).close()
        return Path(root, path)

    return StoredMedia(fetch).restored(value)
