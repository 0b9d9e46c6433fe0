"""Versions that live for a time: past it they are gone for everybody, before their rows are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import Session

from modelyard_server.db.engine import now
from modelyard_server.db.tables import ArtifactVersion


def is_live(session: Session, version: ArtifactVersion | Any) -> bool:
    """Whether a version, or a plain row of one, is neither deleted nor past its time.

    The clock is read only for a version that has a time.
    """
    expires_at = version.expires_at
    return version.deleted_at is None and (expires_at is None or expires_at > now(session))


def live(session: Session) -> ColumnElement[bool]:
    """The same as a condition on `artifact_version`."""
    return ArtifactVersion.deleted_at.is_(None) & or_(
        ArtifactVersion.expires_at.is_(None), ArtifactVersion.expires_at > now(session)
    )
