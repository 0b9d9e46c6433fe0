"""Packs, the immutable objects that hold the bytes of chunks, and the stores that keep them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelyard_server.packs.store import (
    OpenPack,
    PackInfo,
    PackMissing,
    PackStore,
    PackTruncated,
    StoreCheck,
    pack_key,
)

__all__ = [
    "OpenPack",
    "PackInfo",
    "PackMissing",
    "PackStore",
    "PackTruncated",
    "StoreCheck",
    "pack_key",
    "store_from_url",
]


def store_from_url(url: str) -> PackStore:
    """Returns the store of a `--store` setting. Raises ValueError for any other URL.

    `file:///folder` or a plain path: a folder, created if absent.
    `s3://bucket[/prefix][?endpoint=http://host:port][&region=name]`: an S3 store,
    AWS by default. An S3 store gets its first request when it is first used.
    """
    # Drivers are imported when chosen: a server that stores in a folder does not load minio.
    if url.startswith("s3://"):
        from modelyard_server.packs.s3 import S3Store

        return S3Store.from_url(url)
    from modelyard_server.packs.disk import DiskStore

    return DiskStore(_folder(url))


def _folder(url: str) -> Path:
    if "://" not in url:
        if not url:
            raise ValueError("the store's location is empty")
        return Path(url).expanduser()
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not parts.path:
        raise ValueError(
            f"{url!r} is not a store: expected a folder, file:///folder or s3://bucket?endpoint=…"
        )
    return Path(unquote(parts.path))
