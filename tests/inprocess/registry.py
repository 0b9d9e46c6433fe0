"""A registry without a server: the rules on a database, called as the transport calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import ArtifactVersion, Collection, Event, Link, Project
from modelyard_server.domain.access.principals import LOCAL, Principal
from modelyard_server.domain.content import commits, uploads
from modelyard_server.domain.content.commits import VersionSpec
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.domain.registry import (
    aliases,
    deletes,
    registered_models,
    resolve,
)
from modelyard_server.domain.registry.aliases import Change

T = TypeVar("T")
ENTITY = "acme"
LATER = 1 << 60
"""A time in the far future, in microseconds since 1970."""


class Registry:
    """Short forms of the rules, each in a transaction of its own; a bare name is in `acme/p`."""

    def __init__(self, database: Database, principal: Principal = LOCAL) -> None:
        self.database = database
        self.principal = principal

    def read(self, rule: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """A rule of (session, principal, …) in a reading transaction."""
        return self.database.read(lambda session: rule(session, self.principal, *args, **kwargs))

    def write(self, rule: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """A rule of (session, principal, …) in a writing transaction."""
        return self.database.write(lambda session: rule(session, self.principal, *args, **kwargs))

    def log(
        self, name: str, content: str, *, project: str = "p", names: Sequence[str] = (), **spec: Any
    ) -> ArtifactVersion:
        """A version of one reference: content without bytes."""
        manifest = Manifest()
        manifest.add_reference("model", f"test://{content}", "", None)
        digest = manifest.finish(None)
        entity = spec.pop("entity", ENTITY)
        wanted = commits.checked(VersionSpec(entity, project, name, aliases=names, **spec))

        def commit(session: Session, principal: Principal) -> ArtifactVersion:
            upload = uploads.create(session, principal, entity, project)
            return commits.commit(session, principal, upload.id, wanted, manifest, digest)[0].version

        return self.write(commit)

    def link(self, ref: str, target: str, names: Sequence[str] = ()) -> Link:
        """The link of what a reference stands for."""

        def run(session: Session, principal: Principal) -> Link:
            version = resolve.version(session, principal, ref=full(ref)).version
            return registered_models.link(session, principal, version, target, names)[0]

        return self.write(run)

    def move(self, ref: str, *changes: Change) -> dict[str, int]:
        """UpdateAliases; where every alias of the collection stands then."""

        def run(session: Session, principal: Principal) -> dict[str, int]:
            row = resolve.collection(session, principal, None, ref=full(ref), lock=True)
            return {
                alias: spot.number for alias, spot in aliases.update(session, principal, row, changes).items()
            }

        return self.write(run)

    def delete(self, ref: str, *, force: bool = False) -> None:
        """Deletes a version."""

        def run(session: Session, principal: Principal) -> None:
            version = resolve.version(session, principal, ref=full(ref)).version
            deletes.delete_version(session, principal, version, force=force)

        self.write(run)

    def unlink(self, ref: str, *, force: bool = True) -> None:
        """Removes a link."""

        def run(session: Session, principal: Principal) -> None:
            link = resolve.link(session, principal, ref=full(ref)).link
            deletes.delete_link(session, principal, link, force=force)

        self.write(run)

    def pass_time(self) -> None:
        """Makes the time of every version with a time to live be over."""

        def run(session: Session, _: Principal) -> None:
            timed = update(ArtifactVersion).where(ArtifactVersion.expires_at.is_not(None))
            session.execute(timed.values(expires_at=1))

        self.write(run)

    def number(self, ref: str) -> int:
        """The number of the artifact's version that a reference stands for."""
        return self.read(resolve.version, ref=full(ref)).version.number

    def collection(self, ref: str) -> Collection:
        """An artifact or a registered model."""
        return self.read(resolve.collection, None, ref=full(ref))

    def events(self, project: str, *types: str) -> list[Event]:
        """The events of a project, in order; all, or those of some types."""

        def run(session: Session, _: Principal) -> list[Event]:
            query = select(Event).join(Project).where(Project.name == project).order_by(Event.seq)
            return [event for event in session.scalars(query) if not types or event.type in types]

        return self.read(run)


def somebody(name: str, entity: str, *, all_entities: bool = False) -> Principal:
    """A principal of their own, as the owner of a key."""
    return Principal(new_id(), name, entity, all_entities)


def full(ref: str) -> str:
    """`name` is in acme/p, `project/name` in acme."""
    slashes = ref.count("/")
    return f"{ENTITY}/p/{ref}" if slashes == 0 else f"{ENTITY}/{ref}" if slashes == 1 else ref
