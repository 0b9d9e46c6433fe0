"""Media of runs: the values that rows have maps for, from files that are downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelyard.contract import refs
from modelyard.media.stored import StoredMedia
from modelyard.public_runs.files import PublicFile

_AT_ONCE = 8


def restored(value: Any, root: str | os.PathLike[str], file: Callable[[str], PublicFile]) -> Any:
    """A value with media instead of the maps that stand for them; see `PublicRun.media`."""

    def fetch(path: str) -> Path:
        refs.check_manifest_path(path)  # a value may name any path
        # The name of a file has the hash of its content: one that is there need not be fetched.
        if not Path(root, path).exists():
            file(path).download(root, exist_ok=True).close()
        return Path(root, path)

    def prefetch(paths: Collection[str]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for _ in threads.map(fetch, paths):
                pass

    return StoredMedia(fetch, prefetch).restored(value)
