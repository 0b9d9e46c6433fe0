"""The run that makes a version, named at the commit."""

from __future__ import annotations

from sqlalchemy.orm import Session

from modelyard_server.db.engine import now
from modelyard_server.db.tables import ArtifactVersion, Lineage, Project, Run
from modelyard_server.db.upserts import insert_missing
from modelyard_server.domain import owners
from modelyard_server.domain.principals import Principal
from modelyard_server.domain.uploads import parse_id


def find(session: Session, principal: Principal, project: Project, run_id: str) -> Run | None:
    """The run that the header names; None when it names none. Raises NotFound, InvalidField."""
    if not run_id:
        return None
    run = session.get(Run, parse_id("header.run_id", run_id))
    owner = session.get(Project, run.project_id) if run else None
    if run is None or run.deleted_at is not None or owner is None:
        raise owners.not_found("run", run_id)
    # A run may log into another project of an entity its caller may enter.
    if owner.entity_id != project.entity_id and not principal.may_enter(
        owners.entity_of(session, owner).name
    ):
        raise owners.not_found("run", run_id)
    return run


def record(session: Session, run: Run, version: ArtifactVersion) -> None:
    """Records that the run made the version; once more changes nothing."""
    row = {
        "run_id": run.id,
        "version_id": version.id,
        "relation": "output",
        "use_as": "",
        "created_at": now(session),
    }
    insert_missing(session, Lineage, [row])
