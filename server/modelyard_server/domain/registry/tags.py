"""Tags that come and go, of artifacts, registered models and versions."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from modelyard_server.db.tables import Collection
from modelyard_server.domain import events
from modelyard_server.domain.access.principals import Principal


def record_tags(
    session: Session,
    principal: Principal,
    row: Collection,
    before: Sequence[str],
    after: Sequence[str],
    **details: str,
) -> None:
    """The events of a change of tags, of a collection or of one of its versions."""
    for type_, tags in (
        ("tag_removed", [tag for tag in before if tag not in after]),
        ("tag_added", [tag for tag in after if tag not in before]),
    ):
        for tag in tags:
            events.record(
                session,
                row.project_id,
                type_,
                principal,
                collection_id=row.id,
                collection=row.name,
                tag=tag,
                **details,
            )
