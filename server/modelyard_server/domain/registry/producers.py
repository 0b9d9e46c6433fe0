"""The run that makes a version, named at the commit."""

from __future__ import annotations

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from modelyard_server.db.engine import now
from modelyard_server.db.tables import ArtifactVersion, Entity, Lineage, Project, Run
from modelyard_server.db.upserts import insert_missing
from modelyard_server.domain.access import authorize, owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content.uploads import parse_id

# Without the run's config and summary, which may be large.
_RUN = (
    select(Run.id, Run.deleted_at, Project.entity_id, Entity.name)
    .join(Project, Project.id == Run.project_id)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Run.id == bindparam("run"))
)


def find(session: Session, principal: Principal, project: Project, run_id: str) -> str | None:
    """The id of the run that the header names; None when it names none. Raises NotFound, InvalidField."""
    if not run_id:
        return None
    row = session.execute(_RUN, {"run": parse_id("header.run_id", run_id)}).one_or_none()
    if row is None or row.deleted_at is not None:
        raise owners.not_found("run", run_id)
    # A run may log into another project of an entity its caller may enter.
    if row.entity_id != project.entity_id and not authorize.may_enter(session, principal, row.name):
        raise owners.not_found("run", run_id)
    found: str = row.id
    return found


def record(session: Session, run_id: str, version: ArtifactVersion) -> None:
    """Records that the run made the version; once more changes nothing."""
    row = {
        "run_id": run_id,
        "version_id": version.id,
        "relation": "output",
        "use_as": "",
        "created_at": now(session),
    }
    insert_missing(session, Lineage, [row])
