"""Etags: they tell an update which state of a row it was based on.

The etag of a collection is a digest of the fields that updates change: its
`updated_at` also changes with every version. The etag of a run counts its attempts
and updates, since its config may have MiBs. The etag of a version is its
`updated_at`, which needs no digest in the many lookups of versions; `renew` never
sets the same value twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard_server.db.engine import now
from modelyard_server.db.tables import ArtifactVersion, Collection, Run, RunAttempt

R = TypeVar("R")


def of_collection(row: Collection) -> str:
    """The etag of an artifact or a registered model."""
    return _digest(row.name, row.description, row.tags)


def of_version(row: ArtifactVersion) -> str:
    """The etag of a version of an artifact."""
    return f"{row.updated_at:x}"


def renew(session: Session, row: ArtifactVersion) -> None:
    """Gives a changed version a new etag. The caller holds the lock of its artifact."""
    row.updated_at = max(now(session), row.updated_at + 1)


def of_run(row: Run | RunAttempt) -> str:
    """The etag of a run; the summary, which metrics change all the time, does not change it."""
    return f"{row.attempt:x}.{row.edits:x}"


def check(field: str, expected: str, of: Callable[[R], str], row: R) -> None:
    """Raises EtagMismatch unless the caller expects the etag that the row has, or none.

    An etag is made only if one is expected.
    """
    if expected and expected != (present := of(row)):
        raise errors.EtagMismatch(
            f"{field}: the object was changed since this etag was read; read it again, and repeat the update",
            violations=[(field, "is not the present one")],
            metadata={"etag": present},
        )


def _digest(*values: object) -> str:
    return hashlib.sha256(_ENCODER.encode(values).encode()).hexdigest()[:32]


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
