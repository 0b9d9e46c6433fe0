"""The statements behind `resolve`: from names or an id to one row with all that replies show of it.

Services resolve refs all the time, so each statement is built and compiled
once, and one statement finds the row, its names, its aliases and its links.
They use tables, not mapped classes: objects of the ORM would double the time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Select,
    String,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)

from modelyard_server.db.lookups import Lookup
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Link, Project

_V, _L, _A = (table.__table__ for table in (ArtifactVersion, Link, Alias))
_C, _P, _E = (table.__table__ for table in (Collection, Project, Entity))
_SC, _SP, _SE = _C.alias("source"), _P.alias("source_project"), _E.alias("source_entity")
_JOINED: Any = func.aggregate_strings  # its type does not accept a constant inside the statement
_NAME = (
    _E.c.name.label("entity"),
    _P.c.name.label("project"),
    _C.c.name.label("name"),
    _C.c.type.label("type"),
    _P.c.id.label("home_project_id"),
)


def _version_by_ref(by_number: bool) -> Select[*tuple[Any, ...]]:
    """From entity, project, name and alias or number to the version, through a link if there is one."""
    wanted: BindParameter[Any] = bindparam("alias")
    start = _E.join(_P, _P.c.entity_id == _E.c.id).join(_C, _C.c.project_id == _P.c.id)
    own: ColumnElement[Any]
    linked: ColumnElement[bool]
    if by_number:
        inside = select(_V.c.id).where(_V.c.collection_id == _C.c.id, _V.c.number == wanted)
        own = inside.correlate(_C).scalar_subquery()
        linked = (_L.c.collection_id == _C.c.id) & (_L.c.number == wanted)
    else:
        start = start.outerjoin(_A, (_A.c.collection_id == _C.c.id) & (_A.c.alias == wanted))
        own, linked = _A.c.version_id, _L.c.id == _A.c.link_id
    target = func.coalesce(_L.c.version_id, own)
    return (
        select(
            _SE.c.name.label("entity"),
            _SP.c.name.label("project"),
            _SC.c.name.label("name"),
            _SC.c.type.label("type"),
            _SP.c.id.label("home_project_id"),
            _L.c.number.label("link_number"),
            *_V.c,
        )
        .select_from(
            start.outerjoin(_L, linked & _L.c.deleted_at.is_(None))
            .outerjoin(_V, (_V.c.id == target) & _V.c.deleted_at.is_(None))
            .outerjoin(_SC, _SC.c.id == _V.c.collection_id)
            .outerjoin(_SP, _SP.c.id == _SC.c.project_id)
            .outerjoin(_SE, _SE.c.id == _SP.c.entity_id)
        )
        .where(*_named())
    )


def _version_by_id() -> Select[*tuple[Any, ...]]:
    home = _V.join(_C, _C.c.id == _V.c.collection_id).join(_P, _P.c.id == _C.c.project_id)
    return (
        select(*_NAME, *_V.c)
        .select_from(home.join(_E, _E.c.id == _P.c.entity_id))
        .where(_V.c.id == bindparam("id"))
    )


def _with_surroundings(found: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Adds the version's aliases and links, each as one text: no name holds `/`, `:` or `|`."""
    alias, link, model = _A.alias("other_alias"), _L.alias("other_link"), _C.alias("model")
    project, entity = _P.alias("model_project"), _E.alias("model_entity")
    path = entity.c.name + "/" + project.c.name + "/" + model.c.name
    target = cast(link.c.id, String) + ":" + path + ":" + cast(link.c.number, String)
    aliases = select(_JOINED(alias.c.alias, literal_column("'/'"))).where(alias.c.version_id == _V.c.id)
    links = (
        select(_JOINED(target, literal_column("'|'")))
        .select_from(
            link.join(model, model.c.id == link.c.collection_id)
            .join(project, project.c.id == model.c.project_id)
            .join(entity, entity.c.id == project.c.entity_id)
        )
        .where(link.c.version_id == _V.c.id, link.c.deleted_at.is_(None))
    )
    return found.add_columns(
        aliases.correlate(_V).scalar_subquery().label("aliases"),
        links.correlate(_V).scalar_subquery().label("links"),
    )


def _link_by_ref(by_number: bool) -> Select[*tuple[Any, ...]]:
    """From entity, project, name and alias or number to the link, with the link's aliases."""
    wanted: Any = bindparam("alias")
    start = _E.join(_P, _P.c.entity_id == _E.c.id).join(_C, _C.c.project_id == _P.c.id)
    if by_number:
        found = start.join(_L, (_L.c.collection_id == _C.c.id) & (_L.c.number == wanted))
    else:
        found = start.join(_A, (_A.c.collection_id == _C.c.id) & (_A.c.alias == wanted))
        found = found.join(_L, _L.c.id == _A.c.link_id)
    return _link_columns().select_from(found).where(*_named(), _L.c.deleted_at.is_(None))


def _link_by_id() -> Select[*tuple[Any, ...]]:
    home = _L.join(_C, _C.c.id == _L.c.collection_id).join(_P, _P.c.id == _C.c.project_id)
    return (
        _link_columns()
        .select_from(home.join(_E, _E.c.id == _P.c.entity_id))
        .where(_L.c.id == bindparam("id"), _L.c.deleted_at.is_(None))
    )


def _link_columns() -> Select[*tuple[Any, ...]]:
    other = _A.alias("other_alias")
    aliases = select(_JOINED(other.c.alias, literal_column("'/'"))).where(other.c.link_id == _L.c.id)
    return select(*_NAME, *_L.c, aliases.correlate(_L).scalar_subquery().label("aliases"))


def _named() -> tuple[ColumnElement[bool], ...]:
    return (
        _E.c.name == bindparam("entity"),
        _P.c.name == bindparam("project"),
        _C.c.name == bindparam("name"),
        _C.c.deleted_at.is_(None),
    )


# By whether the ref ends in a number (`name:v3`); else it ends in an alias.
VERSION_BY_REF = {number: Lookup(_with_surroundings(_version_by_ref(number))) for number in (False, True)}
LINK_BY_REF = {number: Lookup(_link_by_ref(number)) for number in (False, True)}
VERSION_BY_ID = Lookup(_with_surroundings(_version_by_id()))
LINK_BY_ID = Lookup(_link_by_id())

_COLLECTION = (
    select(Collection, Entity.name, Project.name)
    .join(Project, Project.id == Collection.project_id)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Collection.deleted_at.is_(None))
)
COLLECTION_BY_ID = _COLLECTION.where(Collection.id == bindparam("id"))
COLLECTION_BY_PATH = _COLLECTION.where(
    Entity.name == bindparam("entity"),
    Project.name == bindparam("project"),
    Collection.name == bindparam("name"),
)
LOCKED_BY_PATH = COLLECTION_BY_PATH.with_for_update(of=Collection).execution_options(populate_existing=True)
# An id does not say whose it is, so the condition keeps rows from being locked that the caller may not see.
LOCKED_BY_ID = (
    COLLECTION_BY_ID.where(
        bindparam("everywhere", type_=Boolean) | Entity.name.in_(bindparam("reach", expanding=True))
    )
    .with_for_update(of=Collection)
    .execution_options(populate_existing=True)
)
