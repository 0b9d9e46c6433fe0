"""The versions of an artifact in pages: what may be filtered and ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import Alias, ArtifactVersion, Collection
from modelyard_server.domain import filters, paging
from modelyard_server.domain.filter_fields import Digest, Field, Has, Json, Labels, Number, Text, Time


def _has_alias(name: str) -> ColumnElement[bool]:
    return exists().where(Alias.version_id == ArtifactVersion.id, Alias.alias == name)


FILTER_FIELDS: Mapping[str, Field] = {
    "number": Number(ArtifactVersion.number),
    "aliases": Has(_has_alias),
    "tags": Labels(ArtifactVersion.tags),
    "digest": Digest(ArtifactVersion.digest),
    "size": Number(ArtifactVersion.size),
    "description": Text(ArtifactVersion.description),
    "created_by": Text(ArtifactVersion.created_by),
    "create_time": Time(ArtifactVersion.created_at),
    "update_time": Time(ArtifactVersion.updated_at),
    "metadata": Json(ArtifactVersion.facts),
}
ORDERS: Mapping[str, ColumnElement[Any]] = {
    "number": ArtifactVersion.number.expression,
    "create_time": ArtifactVersion.created_at.expression,
    "update_time": ArtifactVersion.updated_at.expression,
    "size": ArtifactVersion.size.expression,
}


def page(
    session: Session,
    collection: Collection,
    *,
    filter_: str,
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[ArtifactVersion], str]:
    """The versions of an artifact that are not deleted, newest first unless asked otherwise."""
    query = select(ArtifactVersion).where(
        ArtifactVersion.collection_id == collection.id, ArtifactVersion.deleted_at.is_(None)
    )
    condition = filters.condition(session, filter_, FILTER_FIELDS)
    return paging.page(
        session,
        query if condition is None else query.where(condition),
        order=paging.OrderBy.parse(
            order_by, ORDERS, default="number desc", tie=ArtifactVersion.id.expression
        ),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("versions", collection.id, filter_, order_by),
    )
