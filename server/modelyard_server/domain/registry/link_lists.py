"""Lists of links of a registered model, a registry or an entity: filters, orders and pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link, Project
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.search import candidates, filters, list_scope, paging
from modelyard_server.domain.search.candidates import MapIndex, NameIndex, TagIndex
from modelyard_server.domain.search.filter_fields import (
    Field,
    Group,
    Has,
    Indexed,
    Json,
    Number,
    Of,
    TagList,
    Text,
    Time,
)
from modelyard_server.domain.search.list_scope import Scope
from modelyard_server.domain.search.paging import OrderBy, Segment, Term

_ID: ColumnElement[Any] = Link.id.expression
_SOURCE: ColumnElement[Any] = Link.version_id.expression
_OF: ColumnElement[Any] = Link.collection_id.expression
ORDERS: dict[str, ColumnElement[Any]] = {
    "number": Link.number.expression,
    "create_time": Link.created_at.expression,
    "name": Collection.name.expression,
}


def page(
    session: Session,
    principal: Principal,
    model: Collection | None = None,
    *,
    entity: str = "",
    project: str = "",
    filter_: str,
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[Link], str]:
    """The links of a registered model, else of a registry or project, else of an entity; newest first.

    Raises NotFound, InvalidFilter, InvalidField, InvalidPageToken.
    """
    scope = list_scope.of_list(session, principal, model, entity, project)
    found = filters.parse(session, filter_, fields(scope))
    default = "create_time desc" if model is None else "number desc"
    keys = paging.split(order_by, ORDERS, default=default)
    query = select(Link).where(Link.deleted_at.is_(None))
    few = None
    if found is not None:
        few = None if model else candidates.smallest_set(session, found, _ID)
        query = query.where(found.condition, *([few.condition] if few else ()))
    if model is None:
        query = query.where(scope.holds(Link, by_index=few is None))
    else:
        query = query.where(Link.collection_id == model.id)
    if any(key.name == "name" for key in keys):
        query = query.join(Collection, Collection.id == Link.collection_id)
    terms = [Term(ORDERS[key.name], key.descending) for key in keys]
    return paging.page_of_segments(
        session,
        [Segment(query, OrderBy((*terms, Term(_ID, terms[0].descending))))],
        size=paging.check_size(page_size),
        token=page_token,
        binding=("links", model.id if model else scope[:2], filter_, order_by),
    )


def fields(scope: Scope) -> filters.Fields:
    """The fields of the filter."""
    standing = select(Alias.link_id).where(scope.holds(Alias), Alias.link_id.is_not(None))
    models = select(Collection.id).where(scope.holds_project(Collection.project_id))
    return {
        "number": Number(Link.number),
        "aliases": Indexed(Has(_has_alias), NameIndex(_ID, standing, Alias.alias.expression, ":")),
        "created_by": Text(Link.created_by),
        "create_time": Time(Link.created_at),
        "name": Indexed(Text(_of_model(Collection.name)), NameIndex(_OF, models, Collection.name.expression)),
        "project": Text(_of_project(Project.name)),
        "source": Group(_source_fields(scope)),
    }


def _source_fields(scope: Scope) -> dict[str, Field]:
    inside, seen = scope.sees_attribute(), scope.sees(Attribute.entity_id + 0)

    def of_source(condition: ColumnElement[bool]) -> ColumnElement[bool]:
        visible = scope.sees(ArtifactVersion.entity_id)
        found = select(condition).where(ArtifactVersion.id == Link.version_id, visible)
        return found.correlate(Link).scalar_subquery()

    type_ = select(Collection.type).where(Collection.id == ArtifactVersion.collection_id)
    return {
        "type": Of(Text(type_.correlate(ArtifactVersion).scalar_subquery()), of_source),
        "tags": Indexed(
            Of(TagList(ArtifactVersion.tags), of_source), TagIndex(attributes.TAGS, _SOURCE, inside, seen)
        ),
        "metadata": Indexed(
            Of(Json(ArtifactVersion.metadata_), of_source),
            MapIndex(attributes.METADATA, _SOURCE, inside, seen),
        ),
    }


def _has_alias(name: str) -> ColumnElement[bool]:
    # Not EXISTS: the database might turn it into a join and start with that.
    own = (Alias.collection_id == Link.collection_id) & (Alias.alias == name)  # its key: one row
    found = select(Alias.alias).where(own, Alias.link_id == Link.id)
    return found.correlate(Link).scalar_subquery().is_not(None)


def _of_model(column: Any) -> ColumnElement[Any]:
    return select(column).where(Collection.id == Link.collection_id).correlate(Link).scalar_subquery()


def _of_project(column: Any) -> ColumnElement[Any]:
    return select(column).where(Project.id == Link.project_id).correlate(Link).scalar_subquery()
