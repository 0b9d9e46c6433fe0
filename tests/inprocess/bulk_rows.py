"""Large catalogs in seconds: rows written as the schema has them, with their index, past the rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Connection, Table, insert, select

from modelyard_server.db.attributes import Attribute, rows_of
from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Entity, Event, Project, Run, RunMap

BATCH = 5000
MADE = 1_700_000_000_000_000
"""The time of the first row; each later one is a second later."""

RUN_MAPS = {"config": "run.config", "summary": "run.summary"}
"""Maps of runs, with the prefixes of their keys in the index."""

Row = dict[str, Any]


def store(database: Database, kind: Any, rows: Iterable[Row]) -> None:
    """Inserts rows that all have the same columns."""
    table: Table = kind.__table__
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        with database.engine.begin() as connection:
            if database.is_sqlite:
                connection.execute(insert(table), batch)
            else:
                _copy(connection, table, batch)


def analyze(database: Database) -> None:
    """Vacuums and updates the planner's statistics, as autovacuum does in time."""
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def indexed(row: Row, owners: tuple[int, int], columns: Mapping[str, str]) -> list[Row]:
    """The index of a row; `columns` gives the prefix of each column."""
    return [
        {
            "subject_id": row["id"],
            "key": key,
            "item": item,
            "entity_id": owners[0],
            "project_id": owners[1],
            "number": number,
            "text": text,
        }
        for column, prefix in columns.items()
        for (key, item), (number, text) in rows_of(prefix, row[column]).items()
    ]


def store_index(database: Database, rows: Iterable[Row]) -> None:
    """Inserts the index."""
    store(database, Attribute, rows)


def store_runs(database: Database, runs: Iterable[Row]) -> None:
    """Inserts runs of `run_row`; `config` and `summary` are rows of their own."""
    waiting = iter(runs)
    while batch := list(islice(waiting, BATCH)):
        store(database, Run, [{key: row[key] for key in row if key not in RUN_MAPS} for row in batch])
        store(database, RunMap, [piece for row in batch for piece in _pieces(row)])


def _pieces(run: Row) -> Iterable[Row]:
    for part in RUN_MAPS:
        if run[part]:
            size = len(json.dumps(run[part]))
            place = {"run_id": run["id"], "attempt": 1, "part": part, "piece": 0}
            yield {**place, "size": size, "entries": run[part]}


def run_row(owners: tuple[int, int], number: int, config: Row, summary: Row, tags: Sequence[str] = ()) -> Row:
    """A finished run, with its maps."""
    time = MADE + number * 1_000_000
    return {
        "id": new_id(),
        "entity_id": owners[0],
        "project_id": owners[1],
        "run_id": f"run{number}",
        "display_name": f"calm-river-{number}",
        "state": "finished",
        "config": config,
        "summary": summary,
        "notes": "",
        "tags": list(tags),
        "group": "",
        "job_type": "",
        "created_by": "bulk",
        "created_at": time,
        "updated_at": time,
        "heartbeat_at": time,
        "exit_code": None,
        "last_step": -1,
    }


def collection_row(project_id: int, number: int, kind: str, name: str, tags: Sequence[str] = ()) -> Row:
    """An artifact, or a registered model."""
    time = MADE + number * 1_000_000
    return {
        "id": new_id(),
        "project_id": project_id,
        "kind": kind,
        "name": name,
        "type": "model",
        "description": f"number {number}",
        "tags": list(tags),
        "next_version": 0,
        "created_by": "bulk",
        "created_at": time,
        "updated_at": time,
    }


def version_row(
    collection: Row, owners: tuple[int, int], made: int, facts: Row, tags: Sequence[str], run: str | None
) -> Row:
    """The next version of a collection, without files."""
    number = collection["next_version"]
    collection["next_version"] += 1
    time = MADE + made * 1_000_000
    return {
        "id": new_id(),
        "collection_id": collection["id"],
        "entity_id": owners[0],
        "project_id": owners[1],
        "number": number,
        "digest": made.to_bytes(32),
        "size": made * 7919 % 1_000_003,
        "file_count": 1,
        "description": "",
        "metadata_": facts,
        "tags": list(tags),
        "producer_run_id": run,
        "history_step": -1,
        "created_by": "bulk",
        "created_at": time,
        "updated_at": time,
    }


def link_row(collection: Row, owners: tuple[int, int], made: int, version_id: str) -> Row:
    """The next link of a registered model."""
    number = collection["next_version"]
    collection["next_version"] += 1
    time = MADE + made * 1_000_000
    return {
        "id": new_id(),
        "collection_id": collection["id"],
        "entity_id": owners[0],
        "project_id": owners[1],
        "version_id": version_id,
        "number": number,
        "linked_at": time,
        "created_by": "bulk",
        "created_at": time,
    }


def alias_row(collection: Row, owners: tuple[int, int], alias: str, version_id: str) -> Row:
    """An alias on a version of an artifact."""
    place = {"entity_id": owners[0], "project_id": owners[1], "version_id": version_id, "link_id": None}
    return {"collection_id": collection["id"], "alias": alias, **place, "updated_at": MADE}


def store_projects(database: Database, entity: str, names: Sequence[str]) -> None:
    """A new entity with projects of which each has one event."""
    store(database, Entity, [{"name": entity, "created_at": MADE}])
    owner = database.read(lambda session: session.scalars(select(Entity.id).filter_by(name=entity)).one())
    rows = [{"entity_id": owner, "name": name, "created_by": "bulk", "created_at": MADE} for name in names]
    store(database, Project, [{**row, "event_seq": 1, "run_count": 0} for row in rows])
    made = database.read(lambda session: session.scalars(select(Project.id).filter_by(entity_id=owner)).all())
    event = {"seq": 1, "type": "run_state", "time": MADE, "principal": "bulk", "details": {}}
    store(database, Event, [{**event, "project_id": project} for project in made])


def _copy(connection: Connection, table: Table, batch: Sequence[Row]) -> None:
    columns = list(batch[0])
    documents = {name for name in columns if isinstance(table.c[name].type, JSON)}
    names = ", ".join(f'"{table.c[name].name}"' for name in columns)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in batch:
            copy.write_row([json.dumps(row[n]) if n in documents else row[n] for n in columns])
