"""One version or one link with all that is shown around it, by one statement each.

Services ask for these all the time. For lists and for what rules go on with,
there are the longer ways of `versions` and `registry`, which say the same.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Select, String, bindparam, cast, func, literal_column, select
from sqlalchemy.orm import Session

from modelyard.contract import refs
from modelyard_server.db.lookups import Lookup
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Entity, Link, Project
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import expiry, not_found, versions
from modelyard_server.domain.registry.full_names import Home
from modelyard_server.domain.registry.registered_models import LinkView
from modelyard_server.domain.registry.versions import LinkedTo, VersionView

_V, _L, _A = (table.__table__ for table in (ArtifactVersion, Link, Alias))
_C, _P, _E = (table.__table__ for table in (Collection, Project, Entity))
_JOINED: Any = func.aggregate_strings  # its type knows no constant inside the statement


def _with_surroundings(found: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Also the version's aliases, and where it is linked, each as one text: no name holds `/`, `:` or `|`."""
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


_HOME = (
    _E.c.name.label("entity"),
    _P.c.name.label("project"),
    _C.c.name.label("name"),
    _C.c.type.label("type"),
    _P.c.id.label("home_project_id"),
)


def _version_by_id() -> Select[*tuple[Any, ...]]:
    home = _V.join(_C, _C.c.id == _V.c.collection_id).join(_P, _P.c.id == _C.c.project_id)
    return (
        select(*_HOME, *_V.c)
        .select_from(home.join(_E, _E.c.id == _P.c.entity_id))
        .where(_V.c.id == bindparam("id"))
    )


def _link(by_number: bool) -> Select[*tuple[Any, ...]]:
    """From entity, project, name and alias or number to the link, and the aliases that stand on it."""
    wanted: Any = bindparam("alias")
    other = _A.alias("other_alias")
    start = _E.join(_P, _P.c.entity_id == _E.c.id).join(_C, _C.c.project_id == _P.c.id)
    if by_number:
        found = start.join(_L, (_L.c.collection_id == _C.c.id) & (_L.c.number == wanted))
    else:
        found = start.join(_A, (_A.c.collection_id == _C.c.id) & (_A.c.alias == wanted))
        found = found.join(_L, _L.c.id == _A.c.link_id)
    aliases = select(_JOINED(other.c.alias, literal_column("'/'"))).where(other.c.link_id == _L.c.id)
    return (
        select(*_HOME, *_L.c, aliases.correlate(_L).scalar_subquery().label("aliases"))
        .select_from(found)
        .where(
            _E.c.name == bindparam("entity"),
            _P.c.name == bindparam("project"),
            _C.c.name == bindparam("name"),
            _C.c.deleted_at.is_(None),
            _L.c.deleted_at.is_(None),
        )
    )


_BY_REF = {by: Lookup(_with_surroundings(statement)) for by, statement in versions.RESOLVE.items()}
_BY_ID = Lookup(_with_surroundings(_version_by_id()))
_LINK = {by_number: Lookup(_link(by_number)) for by_number in (False, True)}


def version_of(session: Session, principal: Principal, ref: str) -> tuple[VersionView, str]:
    """What a reference stands for now, and the full reference of the link it went through.

    Raises NotFound with the full reference, InvalidField.
    """
    row, home, through = versions.find_row(
        session, principal, ref, "", lambda by_number, named: _BY_REF[by_number].first(session, named)
    )
    return _view(row, home, principal), through.ref(row.link_number) if through else ""


def version(session: Session, principal: Principal, version_id: str) -> VersionView:
    """A version by id that is not deleted. Raises NotFound, InvalidField."""
    row = _BY_ID.first(session, {"id": fields.parse_id("version_id", version_id)})
    if row is None or not principal.may_enter(row.entity) or not expiry.is_live(session, row):
        raise owners.not_found("version", version_id)
    return _view(row, Home._make((*row[:5], row.collection_id)), principal)


def link_of(session: Session, principal: Principal, ref: str) -> LinkView:
    """The link that a reference stands for now. Raises NotFound with the full reference, InvalidField."""
    parsed = fields.check("ref", refs.parse, ref)
    alias, number = parsed.alias or refs.LATEST, parsed.number
    entity = parsed.entity or principal.entity
    project = parsed.project or refs.REGISTRY_PROJECT
    row: Any = None
    if principal.may_enter(entity):
        named = {"entity": entity, "project": project, "name": parsed.name}
        row = _LINK[number is not None].first(
            session, {**named, "alias": alias if number is None else number}
        )
    if row is None:
        named_ref = refs.Ref(entity, project, parsed.name, alias)
        raise not_found.version(session, principal, "registered model version", named_ref, "model")
    source = _BY_ID.first(session, {"id": row.version_id})
    view = None
    if source is not None and principal.may_enter(source.entity):
        view = _view(source, Home._make((*source[:5], source.collection_id)), principal)
    return LinkView(row, Home._make((*row[:5], row.collection_id)), _aliases(row), view)


def _view(row: Any, home: Home, principal: Principal) -> VersionView:
    # A plain row has the attributes of the object.
    return VersionView(row, home, _aliases(row), _visible_links(row.links, home.entity, principal))


def _aliases(row: Any) -> list[str]:
    return sorted(row.aliases.split("/")) if row.aliases else []


def _visible_links(links: str | None, entity: str, principal: Principal) -> list[LinkedTo]:
    """What the caller may see of a text of links, in the order of the models' names."""
    found = []
    for link in links.split("|") if links else ():
        link_id, path, number = link.split(":")
        owner, project, name = path.split("/")
        if owner == entity or principal.may_enter(owner):
            found.append((name, project, int(number), LinkedTo(str(UUID(link_id)), f"{path}:v{number}")))
    return [link[-1] for link in sorted(found)]
