"""Lists of versions of an artifact, a project or an entity: filters, orders and pages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Project, Run
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import versions
from modelyard_server.domain.runs.map_filters import MapOfRun
from modelyard_server.domain.runs.run_maps import CONFIG, SUMMARY
from modelyard_server.domain.search import candidates, filters, key_orders, list_scope, paging
from modelyard_server.domain.search.candidates import MapIndex, NameIndex, TagIndex
from modelyard_server.domain.search.filter_fields import (
    Digest,
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
from modelyard_server.domain.search.paging import OrderBy, OrderKey, Segment, Term

_V = ArtifactVersion
_ID: ColumnElement[Any] = ArtifactVersion.id.expression
_RUN: ColumnElement[Any] = ArtifactVersion.producer_run_id.expression
_OF: ColumnElement[Any] = ArtifactVersion.collection_id.expression
ORDERS: dict[str, ColumnElement[Any]] = {
    "number": _V.number.expression,
    "create_time": _V.created_at.expression,
    "update_time": _V.updated_at.expression,
    "size_bytes": _V.size.expression,
    "name": Collection.name.expression,
}


def page(
    session: Session,
    principal: Principal,
    collection: Collection | None = None,
    *,
    entity: str = "",
    project: str = "",
    filter_: str,
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[ArtifactVersion], str]:
    """The versions that are not deleted of an artifact, else of a project, else of an entity; newest first.

    Raises NotFound, InvalidFilter, InvalidField, InvalidPageToken.
    """
    scope = list_scope.of_list(session, principal, collection, entity, project)
    found = filters.parse(session, filter_, fields(scope))
    default = "create_time desc" if collection is None else "number desc"
    keys = paging.split(order_by, ORDERS, default=default, maps=["metadata"])
    query = select(_V).where(versions.live(session))
    if found is not None:
        query = query.where(found.condition)
    # With so few versions in the artifact, reading all of them is the fastest way.
    small = collection is not None and collection.next_version <= candidates.FEW
    few = None if small else candidates.smallest_set(session, found, _ID)
    if few is not None:
        query = query.where(few.condition)
    inside = _V.collection_id == collection.id if collection else scope.holds(_V, by_index=few is None)
    if any(key.path for key in keys):
        chain = key_orders.chain(
            keys,
            attributes.METADATA,
            query,
            subject=_ID,
            created=_V.created_at.expression,
            inside=inside,
            walked=None if small or few else scope,
            always_inside=collection is not None,
        )
    else:
        chain = [_by_columns(keys, query.where(inside))]
    return paging.page_of_segments(
        session,
        chain,
        size=paging.check_size(page_size),
        token=page_token,
        binding=("versions", collection.id if collection else scope[:2], filter_, order_by),
    )


def fields(scope: Scope) -> filters.Fields:
    """The fields of the filter."""
    inside = scope.holds(Attribute)
    standing = select(Alias.version_id).where(scope.holds(Alias), Alias.version_id.is_not(None))
    artifacts = select(Collection.id).where(scope.holds_project(Collection.project_id))
    return {
        "number": Number(_V.number),
        "aliases": Indexed(Has(_has_alias), NameIndex(_ID, standing, Alias.alias.expression, ":")),
        "tags": Indexed(TagList(_V.tags), TagIndex(attributes.TAGS, _ID, inside)),
        "digest": Digest(_V.digest),
        "size_bytes": Number(_V.size),
        "description": Text(_V.description),
        "created_by": Text(_V.created_by),
        "create_time": Time(_V.created_at),
        "update_time": Time(_V.updated_at),
        "metadata": Indexed(Json(_V.metadata_), MapIndex(attributes.METADATA, _ID, inside)),
        "name": Indexed(
            Text(_of_artifact(Collection.name)), NameIndex(_OF, artifacts, Collection.name.expression)
        ),
        "type": Text(_of_artifact(Collection.type)),
        "project": Text(_of_project(Project.name)),
        "run": Group(_run_fields(scope)),
    }


def _run_fields(scope: Scope) -> dict[str, Field]:
    visible = select(Project.id).where(scope.sees(Project.entity_id))

    def of_run(condition: ColumnElement[bool]) -> ColumnElement[bool]:
        found = select(condition).where(Run.id == _V.producer_run_id, Run.project_id.in_(visible))
        return found.correlate(_V).scalar_subquery()

    def by_map(prefix: str) -> MapIndex:
        return MapIndex(prefix, _RUN, scope.sees_attribute(), scope.sees(Attribute.entity_id + 0))

    runs = select(Run.id).where(Run.project_id.in_(visible))
    return {
        "name": Indexed(Of(Text(Run.run_id), of_run), NameIndex(_RUN, runs, Run.run_id.expression)),
        "display_name": Of(Text(Run.display_name), of_run),
        "config": Indexed(Of(MapOfRun(CONFIG), of_run), by_map(attributes.RUN_CONFIG)),
        "summary": Indexed(Of(MapOfRun(SUMMARY), of_run), by_map(attributes.RUN_SUMMARY)),
    }


def _has_alias(name: str) -> ColumnElement[bool]:
    # Not EXISTS: the database might turn it into a join and start with that.
    own = (Alias.collection_id == _V.collection_id) & (Alias.alias == name)  # its key: one row
    found = select(Alias.alias).where(own, Alias.version_id == _V.id)
    return found.correlate(_V).scalar_subquery().is_not(None)


def _of_artifact(column: Any) -> ColumnElement[Any]:
    # A subquery instead of a join: the database cannot start with it.
    return select(column).where(Collection.id == _V.collection_id).correlate(_V).scalar_subquery()


def _of_project(column: Any) -> ColumnElement[Any]:
    return select(column).where(Project.id == _V.project_id).correlate(_V).scalar_subquery()


def _by_columns(keys: list[OrderKey], query: Select[Any]) -> Segment:
    if any(key.name == "name" for key in keys):
        query = query.join(Collection, Collection.id == _V.collection_id)
    terms = [Term(ORDERS[key.name], key.descending) for key in keys]
    return Segment(query, OrderBy((*terms, Term(_ID, terms[0].descending))))
