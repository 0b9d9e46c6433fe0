"""The work of `modelyard server collect` and `usage`.

It runs beside servers, of a folder too: the database locks what a step needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.orm import Session

from modelyard_server import failpoints
from modelyard_server.admin import ready_database
from modelyard_server.collecting import holders, usage
from modelyard_server.collecting.collector import Collector
from modelyard_server.collecting.forecast import forecast
from modelyard_server.collecting.holders import Explanation
from modelyard_server.collecting.rules import Rules
from modelyard_server.collecting.totals import Totals
from modelyard_server.db.engine import Database
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import SERVER
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.process import data_folder, storage
from modelyard_server.settings import Location, StartError


def foresee(location: Location, rules: Rules) -> Totals:
    """What `collect` would do. Raises StartError, CommError."""
    with opened(location) as (database, confirmed):
        return forecast(database, confirmed.store, rules)


def collect(location: Location, rules: Rules) -> Totals:
    """Collects everything that the rules allow. Raises StartError, CommError."""
    failpoints.arm_from(os.environ)
    with opened(location) as (database, confirmed):
        return Collector(database, confirmed, rules).collect()


def explain(location: Location, ref: str) -> Explanation:
    """Who needs the bytes of what a ref stands for. Raises StartError, CommError."""
    with opened(location) as (database, _):
        return database.read(lambda session: holders.explain(session, ref))


def used(location: Location, owner: str) -> Sequence[usage.InStore] | Sequence[usage.Held]:
    """What is held: by each entity, or by each project or artifact of the owner.

    `owner` is empty, an entity, or `entity/project`. Raises StartError, CommError.
    """
    entity, _, project = owner.partition("/")

    def read(session: Session) -> Sequence[usage.InStore] | Sequence[usage.Held]:
        if not entity:
            return usage.entities(session)
        if not project:
            return usage.projects(session, owners.find_entity(session, SERVER, entity))
        return usage.artifacts(session, owners.find_project(session, SERVER, entity, project))

    with opened(location) as (database, _):
        return database.read(read)


@contextmanager
def opened(location: Location) -> Iterator[tuple[Database, ConfirmedPacks]]:
    """The database and the store of a location. Raises StartError, CommError."""
    if location.folder is not None:
        data_folder.require_local(location.folder)
        if not (location.folder / "modelyard.db").exists():
            raise StartError(f"there is no data in {location.folder}: give the folder of a server by --data")
    with ready_database(location) as database:
        store = storage.open_store(location)
        yield database, ConfirmedPacks(store, storage.require_same_store(database, store))
