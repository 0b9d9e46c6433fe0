"""Many versions at once take as many queries as few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.registry import resolve_batch
from modelyard_server.domain.registry.resolve_batch import VersionRequest
from tests.inprocess.databases import sqlite_database
from tests.inprocess.registry import ENTITY, Registry, somebody


def statements(database: Database, wanted: Sequence[VersionRequest]) -> int:
    """How many a batch takes; every entry of it is found."""
    count = 0

    def note(*_: Any) -> None:
        nonlocal count
        count += 1

    def get(session: Session) -> None:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", note)
        found = resolve_batch.versions_of(session, LOCAL, wanted)
        assert all(found)

    database.read(get)
    return count


def test_many_versions_take_as_many_queries_as_few(tmp_path: Path) -> None:
    with sqlite_database(tmp_path) as database:
        registry = Registry(database)
        wanted = []
        for number in range(40):
            name = f"m{number % 10}"
            version = registry.log(name, str(number), project=f"p{number % 3}", names=["best"])
            registry.link(f"p{number % 3}/{name}", f"model-registry/Model {number % 4}")
            wanted += [
                VersionRequest(version.id, ""),
                VersionRequest("", f"{ENTITY}/p{number % 3}/{name}:best"),
                VersionRequest("", f"{ENTITY}/p{number % 3}/{name}:v0"),
                VersionRequest("", f"{ENTITY}/model-registry/Model {number % 4}:v0"),
            ]
        assert statements(database, wanted) == statements(database, wanted[:4])


def test_what_lies_in_another_entity_is_not_found(tmp_path: Path) -> None:
    with sqlite_database(tmp_path) as database:
        registry = Registry(database)
        mine = registry.log("bert", "a")
        other = registry.log("bert", "a", entity="other")
        wanted = [
            VersionRequest(other.id, ""),
            VersionRequest("", "other/p/bert"),
            VersionRequest("", f"{ENTITY}/p/bert"),
        ]
        insider = somebody("insider", ENTITY)
        found = database.read(lambda session: resolve_batch.versions_of(session, insider, wanted))
        assert [one.version.id if one else "" for one in found] == ["", "", mine.id]
