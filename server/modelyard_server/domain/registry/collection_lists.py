"""Lists of artifacts, registered models, types and registries: filters, orders and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from modelyard.contract import refs
from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.tables import Collection, Project
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry.collections import CollectionView, Kind, describe
from modelyard_server.domain.search import candidates, filters, list_scope, paging
from modelyard_server.domain.search.filter_fields import Indexed, TagList, Text, Time
from modelyard_server.domain.search.list_scope import Scope
from modelyard_server.domain.search.paging import OrderBy, Term

_ID: ColumnElement[Any] = Collection.id.expression
ORDERS: Mapping[str, ColumnElement[Any]] = {
    "name": Collection.name.expression,
    "create_time": Collection.created_at.expression,
    "update_time": Collection.updated_at.expression,
}


def page(
    session: Session,
    principal: Principal,
    kind: Kind,
    *,
    entity: str,
    project: str,
    filter_: str,
    order_by: str,
    page_size: int,
    page_token: str,
) -> tuple[list[CollectionView], str]:
    """The live collections of a project, or of a whole entity when none is named. Raises NotFound."""
    scope = list_scope.of_names(session, principal, entity, project)
    query = select(Collection).where(
        Collection.kind == kind,
        Collection.deleted_at.is_(None),
        scope.holds_project(Collection.project_id),
    )
    found = filters.parse(session, filter_, _filter_fields(scope))
    if found is not None:
        few = candidates.smallest_set(session, found, _ID)
        query = query.where(found.condition, *([few.condition] if few else ()))
    rows, token = paging.page(
        session,
        query,
        order=paging.OrderBy.parse(order_by, ORDERS, default="name", tie=_ID),
        size=paging.check_size(page_size),
        token=page_token,
        binding=(kind, entity or principal.entity, project, filter_, order_by),
    )
    return describe(session, rows), token


def types(
    session: Session,
    principal: Principal,
    *,
    entity: str,
    project: str,
    page_size: int,
    page_token: str,
) -> tuple[list[tuple[str, int]], str]:
    """One page of the types of artifacts in a project or an entity, with how many artifacts each has.

    Raises NotFound, InvalidField, InvalidPageToken.
    """
    scope = list_scope.of_names(session, principal, entity, project)
    query = (
        select(Collection.type, func.count())
        .where(
            scope.holds_project(Collection.project_id),
            Collection.kind == "artifact",
            Collection.deleted_at.is_(None),
        )
        .group_by(Collection.type)
    )
    return paging.page(
        session,
        query,
        order=OrderBy((Term(Collection.type.expression),)),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("types", entity or principal.entity, project),
    )


def registries(
    session: Session, principal: Principal, entity: str, *, page_size: int, page_token: str
) -> tuple[list[tuple[str, int]], str]:
    """One page of the projects that are registries by name or hold registered models.

    Each with the number of its registered models. Raises NotFound, InvalidField, InvalidPageToken.
    """
    scope = list_scope.of_names(session, principal, entity, "")
    held = (Collection.kind == "model") & Collection.deleted_at.is_(None)
    query = (
        select(Project.name, func.count(Collection.id))
        .outerjoin(Collection, (Collection.project_id == Project.id) & held)
        .where(Project.entity_id == scope.entity_id)
        .group_by(Project.name)
        .having((func.count(Collection.id) > 0) | _named_as_registry())
    )
    return paging.page(
        session,
        query,
        order=OrderBy((Term(Project.name.expression),)),
        size=paging.check_size(page_size),
        token=page_token,
        binding=("registries", entity or principal.entity),
    )


def _named_as_registry() -> ColumnElement[bool]:
    """As `refs.is_registry`, in SQL."""
    prefixed = Project.name.startswith(refs.REGISTRY_PREFIX, autoescape=True)
    return (Project.name == refs.REGISTRY_PROJECT) | (prefixed & (Project.name != refs.REGISTRY_PREFIX))


def _filter_fields(scope: Scope) -> filters.Fields:
    tagged = candidates.TagIndex(attributes.COLLECTION_TAGS, _ID, scope.holds(Attribute))
    return {
        "name": Text(Collection.name),
        "type": Text(Collection.type),
        "tags": Indexed(TagList(Collection.tags), tagged),
        "description": Text(Collection.description),
        "created_by": Text(Collection.created_by),
        "create_time": Time(Collection.created_at),
        "update_time": Time(Collection.updated_at),
    }
