"""One version made by several runs: where their parts wait until it is finished.

The parts gather in a staging artifact of their own. Each writer commits what is
gathered so far with its files on top, then moves the alias `gathered` from the
version it started from to the new one; the writer that finds it moved starts
again, so that no part is lost. Bytes that were sent once are not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from modelyard.contract import errors
from modelyard.rpc import records, version_calls
from modelyard.rpc.connection import Connection

GATHERED = "gathered"

Commit = Callable[[str, str], records.Version]
"""Commits a writer's files to an artifact, besides those of a base version (its id, or nothing)."""


def staging_name(name: str, distributed_id: str) -> str:
    """The staging artifact of a name and the id its writers share."""
    key = hashlib.sha256(f"{name}\0{distributed_id}".encode()).hexdigest()[:16]
    return f"{name[:100]}.parts.{key}"


def gather(connection: Connection, place: str, staging: str, commit: Commit) -> None:
    """Adds a writer's files to what is gathered in `place` (`entity/project`)."""
    ref = f"{place}/{staging}"
    while True:
        before = version_calls.find_version(connection, f"{ref}:{GATHERED}")
        after = commit(staging, before.id if before else "")
        start = f"v{before.number}" if before else ""
        try:
            version_calls.move_aliases(
                connection, ref, {GATHERED: f"v{after.number}"}, expected={GATHERED: start}
            )
        except errors.AliasChanged:
            continue
        return


def finish(connection: Connection, place: str, name: str, staging: str, commit: Commit) -> records.Version:
    """Commits what is gathered, and the last writer's files, as a version of `name`."""
    gathered = version_calls.find_version(connection, f"{place}/{staging}:{GATHERED}")
    version = commit(name, gathered.id if gathered else "")
    if gathered is not None:
        version_calls.delete_artifact(connection, gathered.model_artifact_id, delete_aliases=True)
    return version
