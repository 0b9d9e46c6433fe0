"""From an id or a ref of a version, link, artifact or registered model to what it names.

Resolves one at a time; `resolve_batch` resolves many ids and refs of versions, and a
test holds the two equal. Runs are found by `domain/runs/runs.py`.

A ref of a version is `[[entity/]project/]name[:alias|:vN]`, of an artifact or
of a registered model; without an alias it is `latest`, without a project the
default one, without an entity the caller's. What is missing, deleted, expired
or not the caller's to see raises the same NotFound.

Functions begin the transaction, so that later statements of it see what was
resolved, unless `alone` is given: then nothing follows, and the lookup reads
what is committed without a transaction, which takes a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard_server.db.lookups import Lookup
from modelyard_server.db.tables import ArtifactVersion, Collection
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize, reach
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import ref_not_found, versions
from modelyard_server.domain.registry import resolve_statements as statements
from modelyard_server.domain.registry.collections import DEFAULT_PROJECTS, NAMES, Kind
from modelyard_server.domain.registry.full_names import FullName
from modelyard_server.domain.registry.registered_models import LinkView
from modelyard_server.domain.registry.versions import LinkedTo, VersionView

_LINK = "registered model version"


class Resolved(NamedTuple):
    """A version, and the full ref of the link that the ref went through; empty if none."""

    view: VersionView
    through_link: str

    @property
    def version(self) -> ArtifactVersion:
        """The version's row: its columns, not an object of the session."""
        return self.view.version


class ParsedRef(NamedTuple):
    """A ref of a version with nothing left out; `number` is set for `vN`, `alias` is the text behind `:`."""

    entity: str
    project: str
    name: str
    alias: str
    number: int | None

    @classmethod
    def parse(
        cls, principal: Principal, ref: str, *, field: str = "ref", project: str = refs.DEFAULT_PROJECT
    ) -> ParsedRef:
        """A caller's ref with the defaults, `project` among them, filled in. Raises InvalidField."""
        parsed = fields.check(field, refs.parse, ref)
        return cls(
            parsed.entity or principal.entity,
            parsed.project or project,
            parsed.name,
            parsed.alias or refs.LATEST,
            parsed.number,
        )

    @property
    def resource(self) -> Resource:
        """The project that it names."""
        return Resource(self.entity, self.project)

    def first(self, session: Session, lookups: Mapping[bool, Lookup]) -> Any:
        """The row that the lookup for aliases (False) or for numbers (True) finds."""
        by_number = self.number is not None
        names = {"entity": self.entity, "project": self.project, "name": self.name}
        return lookups[by_number].first(session, {**names, "alias": self.number if by_number else self.alias})

    def not_found(
        self, session: Session, principal: Principal, what: str, kind: Kind | None = None
    ) -> errors.NotFound:
        """The error that says which part of it is missing."""
        ref = refs.Ref(self.entity, self.project, self.name, self.alias)
        return ref_not_found.version(session, principal, what, ref, kind)


def version(
    session: Session,
    principal: Principal,
    *,
    id_: str | None = None,
    ref: str = "",
    field: str = "id",
    action: Action = Action.READ,
    alone: bool = False,
) -> Resolved:
    """The version of the ref, or else with the id, which came in `field`. Raises NotFound, InvalidField."""
    _begin(session, alone)
    if id_ is not None and not ref:
        return _version_by_id(session, principal, id_, field, action)
    parsed = ParsedRef.parse(principal, ref)
    row: Any = None
    if authorize(session, principal, action, parsed.resource):
        row = parsed.first(session, statements.VERSION_BY_REF)
    found = row is not None and row.id is not None and versions.is_live(session, row)
    if not found or not _may(session, principal, action, row):
        raise parsed.not_found(session, principal, "version")
    through = ""
    if row.link_number is not None:
        through = f"{parsed.entity}/{parsed.project}/{parsed.name}:v{row.link_number}"
    return Resolved(_view(session, row, principal), through)


def link(
    session: Session,
    principal: Principal,
    *,
    id_: str = "",
    ref: str = "",
    field: str = "id",
    action: Action = Action.READ,
    alone: bool = False,
) -> LinkView:
    """The link with the id, which came in `field`, or of a registered model's ref.

    Its default project is `model-registry`. Raises NotFound, InvalidField.
    """
    _begin(session, alone)
    if id_:
        row = statements.LINK_BY_ID.first(session, {"id": fields.parse_id(field, id_)})
        if row is None or not _may(session, principal, action, row):
            raise owners.not_found(_LINK, id_)
    else:
        parsed = ParsedRef.parse(principal, ref, project=refs.REGISTRY_PROJECT)
        row = None
        if authorize(session, principal, action, parsed.resource):
            row = parsed.first(session, statements.LINK_BY_REF)
        if row is None:
            raise parsed.not_found(session, principal, _LINK, "model")
    source = statements.VERSION_BY_ID.first(session, {"id": row.version_id})
    view = None
    if source is not None and _may(session, principal, Action.READ, source):
        view = _view(session, source, principal)
    return LinkView(row, _full_name(row), _aliases(row), view)


def collection(
    session: Session,
    principal: Principal,
    kind: Kind | None,
    *,
    id_: str = "",
    ref: str = "",
    field: str = "id",
    action: Action = Action.READ,
    lock: bool = False,
) -> Collection:
    """The artifact or registered model with the id, which came in `field`, or of `[[entity/]project/]name`.

    Of either kind if None. The default project is the kind's own, `model-registry` if None.
    With `lock` nobody else changes it until the transaction ends; a row that the
    caller may not see is never locked. Raises NotFound, InvalidField.
    """
    what = NAMES[kind] if kind else "model artifact or registered model"
    if id_:
        row = _collection_by_id(session, principal, fields.parse_id(field, id_), action, lock)
        if row is None or kind not in (None, row.kind):
            raise owners.not_found(what, id_)
        return row
    path = _path(principal, kind, ref)
    row = _collection_by_path(session, principal, path, action, lock)
    if row is None or kind not in (None, row.kind):
        raise ref_not_found.collection(session, principal, what, path, kind)
    return row


def _collection_by_id(
    session: Session, principal: Principal, id_: str, action: Action, lock: bool
) -> Collection | None:
    if lock:
        seen = reach(principal)
        parameters = {"id": id_, "everywhere": seen is None, "reach": sorted(seen or ())}
        found = session.execute(statements.LOCKED_BY_ID, parameters).one_or_none()
    else:
        found = session.execute(statements.COLLECTION_BY_ID, {"id": id_}).one_or_none()
    if found is None or not authorize(session, principal, action, Resource(*found[1:])):
        return None
    row: Collection = found[0]
    return row


def _collection_by_path(
    session: Session, principal: Principal, path: refs.Ref, action: Action, lock: bool
) -> Collection | None:
    if not authorize(session, principal, action, Resource(path.entity, path.project)):
        return None
    statement = statements.LOCKED_BY_PATH if lock else statements.COLLECTION_BY_PATH
    parameters = {"entity": path.entity, "project": path.project, "name": path.name}
    found: Collection | None = session.scalar(statement, parameters)
    return found


def _begin(session: Session, alone: bool) -> None:
    if not alone:
        session.connection()


def _version_by_id(session: Session, principal: Principal, id_: str, field: str, action: Action) -> Resolved:
    row = statements.VERSION_BY_ID.first(session, {"id": fields.parse_id(field, id_)})
    if row is None or not versions.is_live(session, row) or not _may(session, principal, action, row):
        raise owners.not_found("version", id_)
    return Resolved(_view(session, row, principal), "")


def _may(session: Session, principal: Principal, action: Action, row: Any) -> bool:
    return authorize(session, principal, action, Resource(row.entity, row.project))


def _path(principal: Principal, kind: Kind | None, ref: str) -> refs.Ref:
    parsed = fields.check("ref", refs.parse, ref)
    if parsed.alias:
        raise errors.InvalidField.of("ref", f"{ref!r} names a version; expected [[entity/]project/]name")
    project = parsed.project or DEFAULT_PROJECTS[kind or "model"]
    return refs.Ref(parsed.entity or principal.entity, project, parsed.name)


def _view(session: Session, row: Any, principal: Principal) -> VersionView:
    # A plain row has the attributes of the object.
    return VersionView(row, _full_name(row), _aliases(row), _visible_links(session, row, principal))


def _full_name(row: Any) -> FullName:
    return FullName._make((*row[:5], row.collection_id))


def _aliases(row: Any) -> list[str]:
    return sorted(row.aliases.split("/")) if row.aliases else []


def _visible_links(session: Session, row: Any, principal: Principal) -> list[LinkedTo]:
    """The links of a version's row that the caller may see, by the names of their models."""
    found = []
    allowed: dict[tuple[str, str], bool] = {}
    for text in row.links.split("|") if row.links else ():
        link_id, path, number = text.split(":")
        entity, project, name = path.split("/")
        if (entity, project) not in allowed:
            resource = Resource(entity, project)
            allowed[entity, project] = authorize(session, principal, Action.READ, resource)
        if allowed[entity, project]:
            found.append((name, project, int(number), LinkedTo(str(UUID(link_id)), f"{path}:v{number}")))
    return [each[-1] for each in sorted(found)]
