"""One version made by several runs: their files are gathered in an artifact, the gathering artifact.

Each run commits the gathered version with its own files added, then moves the
alias `gathered` from the version it started from to the new one. A run that
finds the alias moved starts again, so that no files are lost. Bytes that were
sent once are not sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from modelyard.contract import errors
from modelyard.rpc import collection_calls, records, version_calls
from modelyard.rpc.connection import Connection

GATHERED = "gathered"

Commit = Callable[[str, str], records.Version]
"""Commits a run's files to an artifact of this name, based on a version (its id, or empty)."""


def gathering_name(name: str, distributed_id: str) -> str:
    """The name of the gathering artifact for a name and the id that the runs share."""
    key = hashlib.sha256(f"{name}\0{distributed_id}".encode()).hexdigest()[:16]
    return f"{name[:100]}.parts.{key}"


def gather(connection: Connection, project: str, gathering: str, commit: Commit) -> None:
    """Adds a run's files to the gathered ones in `project` (`entity/project`)."""
    ref = f"{project}/{gathering}"
    while True:
        before = version_calls.find_version(connection, f"{ref}:{GATHERED}")
        after = commit(gathering, before.id if before else "")
        start = f"v{before.number}" if before else ""
        try:
            version_calls.move_aliases(
                connection, ref, {GATHERED: f"v{after.number}"}, expected={GATHERED: start}
            )
        except errors.AliasChanged:
            continue
        return


def finish(
    connection: Connection, project: str, name: str, gathering: str, commit: Commit
) -> records.Version:
    """Commits the gathered files and those of the last run as a version of `name`."""
    gathered = version_calls.find_version(connection, f"{project}/{gathering}:{GATHERED}")
    version = commit(name, gathered.id if gathered else "")
    if gathered is not None:
        collection_calls.delete_artifact(connection, gathered.model_artifact_id, delete_aliases=True)
    return version
