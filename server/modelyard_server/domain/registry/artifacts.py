"""Artifacts: named collections of versions, each of one type."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.tables import Collection, Project
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import collections


def open_artifact(
    session: Session,
    principal: Principal,
    project: Project,
    name: str,
    type_: str,
) -> Collection:
    """The artifact to add a version to, locked; created or revived if needed.

    An empty type means the type of the name, else `model`. Raises TypeMismatch if the
    name has another type or is a registered model's, InvalidField.
    """
    _check_place(project.name, name, "header.")
    if type_:
        fields.check_type("header.type", type_)
    row = collections.lock_name(session, project.id, name)
    if row is None:
        row = collections.new(
            session, principal, project, "artifact", name, type_ or collections.DEFAULT_TYPE
        )
    collections.check_kind(row, "artifact", type_)
    if row.deleted_at is not None:
        collections.revive(session, principal, row)
    return row


def check_name(session: Session, project: Project | None, project_name: str, name: str, type_: str) -> None:
    """Raises what `open_artifact` would raise now. `project` is None if it does not exist yet."""
    _check_place(project_name, name, "header.")
    if type_:
        fields.check_type("header.type", type_)
    row = collections.by_name(session, project.id, name) if project is not None else None
    if row is not None:
        collections.check_kind(row, "artifact", type_)


def create(
    session: Session,
    principal: Principal,
    *,
    entity: str,
    project: str,
    name: str,
    type_: str,
    description: str,
    tags: Sequence[str],
) -> Collection:
    """Creates an artifact without versions.

    Raises AlreadyExists, TypeMismatch, NotAllowed, InvalidField.
    """
    prefix = "model_artifact."
    fields.check_place(prefix, entity, project)
    _check_place(project or refs.DEFAULT_PROJECT, name, prefix)
    fields.check_type(f"{prefix}type", type_)
    place = owners.ensure_project(session, principal, entity, project)
    return collections.create(session, principal, place, "artifact", name, type_, description, tags, prefix)


def _check_place(project: str, name: str, prefix: str) -> None:
    fields.check(f"{prefix}name", refs.check_artifact_name, name)
    if refs.is_registry(project):
        raise errors.InvalidField.of(
            f"{prefix}project", f"{project} is a registry: it holds registered models, not artifacts"
        )
