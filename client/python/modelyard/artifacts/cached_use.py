"""Using versions that were downloaded before while the server is away.

A ref that ends in `:vN` means the same for ever, so what was kept of it is as
good as the server's answer. Aliases move; they need the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.artifacts import staging
from modelyard.configuration.settings import Settings
from modelyard.contract import errors, refs
from modelyard.transfer import transfer

if TYPE_CHECKING:
    from modelyard.artifacts.handles import Workspace
    from modelyard.rpc.connection import Connection
    from modelyard.rpc.records import FileEntry, Link, Version

REACHABLE_SECONDS = 5.0
"""How long a server is waited for when there is a version to do without it."""


def cache_of(settings: Settings) -> transfer.Cache:
    """The cache that settings name."""
    staging.sweep(staging.folder_in(settings.cache_root))
    return transfer.Cache(settings.cache_root)


def keep(settings: Settings, version: Version, link: Link | None = None) -> None:
    """Keeps what a version, and the link it was reached through, stand for."""
    kept = cache_of(settings).version_index()
    for ref in (version.ref, link.ref if link else ""):
        if ref:
            kept.keep_version(_server(settings), ref, version)


def find(settings: Settings, ref: str) -> Version | None:
    """What was kept of `entity/project/name:vN`; None when nothing was, or the ref has no number."""
    if refs.version_number(refs.parse(ref).alias) is None:
        return None
    return cache_of(settings).version_index().version(_server(settings), ref)


def find_unreachable(workspace: Workspace, ref: str) -> Version | None:
    """What was kept of a ref, if its server cannot be reached; None when it can, or nothing was kept."""
    version = find(workspace.settings, ref)
    return None if version is None or is_reachable(workspace.connection) else version


def is_reachable(connection: Connection) -> bool:
    """Whether a channel to the server is ready within 5 s; an embedded server is started for it."""
    import grpc

    try:
        ready = grpc.channel_ready_future(connection.current())
    except errors.CommError:
        return False
    try:
        ready.result(timeout=REACHABLE_SECONDS)
    except grpc.FutureTimeoutError:
        return False
    finally:
        ready.cancel()
    return True


def download(settings: Settings, version: Version, root: Path) -> Sequence[FileEntry]:
    """Puts a version's files in place without a server. RuntimeError when not all of it is in the cache."""
    return transfer.download(None, version, root, cache=cache_of(settings))


def _server(settings: Settings) -> str:
    return settings.url or str(settings.data_root)
