"""Versions that were downloaded before, used from the cache while the server cannot be reached.

Only refs that end in `:vN` are kept: they never change their meaning, aliases do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.artifacts import draft_copies
from modelyard.configuration.settings import Settings
from modelyard.contract import errors, refs
from modelyard.transfer import transfer

if TYPE_CHECKING:
    from modelyard.artifacts.handles import Workspace
    from modelyard.rpc.connection import Connection
    from modelyard.rpc.records import FileEntry, Link, Version

REACHABLE_SECONDS = 5.0
"""How long to wait for a server when the version is in the cache."""


def cache_of(settings: Settings) -> transfer.Cache:
    """The cache in the folder that settings name. Removes copies for drafts of killed processes there."""
    draft_copies.sweep(draft_copies.folder_in(settings.cache_root))
    return transfer.Cache(settings.cache_root)


def keep(settings: Settings, version: Version, link: Link | None = None) -> None:
    """Records in the cache which version the refs of a version, and of its link, mean."""
    kept = cache_of(settings).version_index()
    for ref in (version.ref, link.ref if link else ""):
        if ref:
            kept.keep_version(_server(settings), ref, version)


def find(settings: Settings, ref: str) -> Version | None:
    """The version of `entity/project/name:vN` in the cache; None when it is not there or has no number."""
    if refs.version_number(refs.parse(ref).alias) is None:
        return None
    return cache_of(settings).version_index().version(_server(settings), ref)


def find_unreachable(workspace: Workspace, ref: str) -> Version | None:
    """The cached version of a ref if the server cannot be reached, else None."""
    version = find(workspace.settings, ref)
    return None if version is None or is_reachable(workspace.connection) else version


def is_reachable(connection: Connection, seconds: float = REACHABLE_SECONDS) -> bool:
    """Whether a channel to the server is ready within some seconds; an embedded server is started for it."""
    import grpc

    try:
        ready = grpc.channel_ready_future(connection.current())
    except errors.CommError:
        return False
    try:
        ready.result(timeout=seconds)
    except grpc.FutureTimeoutError:
        return False
    finally:
        ready.cancel()
    return True


def download(settings: Settings, version: Version, root: Path) -> Sequence[FileEntry]:
    """Copies a version's files from the cache. RuntimeError when some are missing there."""
    return transfer.download(None, version, root, cache=cache_of(settings))


def _server(settings: Settings) -> str:
    return settings.url or str(settings.data_root)
