"""Errors of the database: conflicts are retried, defects are reported once, with their cause in the log."""

from __future__ import annotations

import sqlite3
import traceback

import grpc
import pytest
from sqlalchemy import insert
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.v1 import run_pb2
from modelyard_server.db.conflicts import RACING_KEYS, ConstraintBroken
from modelyard_server.db.engine import ATTEMPTS, Database
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Base, Collection, Entity, Event, Pin, Project
from tests.parts.server import LiveServer, reason

SECRET = "what-a-user-wrote"


def not_null(session: Session) -> None:
    session.execute(insert(Project).values(name=SECRET, entity_id=None, created_by=SECRET, created_at=1))


def check(session: Session) -> None:
    session.add(Entity(id=1, name="e", created_at=1))
    session.add(Project(id=1, entity_id=1, name="p", created_by="x", created_at=1))
    session.flush()
    row = {"id": new_id(), "project_id": 1, "kind": "other", "name": SECRET, "type": "t", "description": ""}
    session.execute(insert(Collection).values(**row, tags=[], created_by="x", created_at=1, updated_at=1))


def foreign_key(session: Session) -> None:
    event = {"project_id": 17, "seq": 1, "type": SECRET, "time": 1, "principal": "x", "details": {}}
    session.execute(insert(Event).values(**event))


@pytest.mark.parametrize("defect", [not_null, check, foreign_key])
def test_errors_that_no_other_transaction_caused_are_not_retried(database: Database, defect: object) -> None:
    tries = 0

    def rule(session: Session) -> None:
        nonlocal tries
        tries += 1
        defect(session)  # type: ignore[operator]

    with pytest.raises(ConstraintBroken) as broken:
        database.write(rule)
    assert tries == 1
    told = "".join(traceback.format_exception(broken.value))
    assert "INSERT INTO" in told
    assert defect.__name__ in told  # type: ignore[attr-defined]
    assert SECRET not in told


def test_a_conflicting_insert_is_retried_and_finds_the_row(database: Database) -> None:
    tries = 0

    def rule(session: Session) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:  # as when both have looked before either wrote
            session.execute(insert(Entity), [{"name": "same", "created_at": 1}] * 2)
        return "found"

    assert database.write(rule) == "found"
    assert tries == 2


def test_a_reference_to_a_deleted_row_is_retried(database: Database) -> None:
    tries = 0

    def rule(session: Session) -> None:
        nonlocal tries
        tries += 1
        session.add(Entity(id=1, name="e", created_at=1))
        session.flush()
        session.execute(insert(Pin).values(upload_id=new_id(), chunk_id=1))

    with pytest.raises(ConstraintBroken if database.is_sqlite else errors.RetryTransaction):
        database.write(rule)
    # SQLite has one writer: nothing goes there while it writes.
    assert tries == (1 if database.is_sqlite else ATTEMPTS)


def forbid_runs_of(server: LiveServer, project: str) -> None:
    """Makes the database refuse a project, as a schema does that the code does not fit."""
    if "--data" in server.place:
        connection = sqlite3.connect(server.data / "modelyard.db")
        connection.execute(
            f"CREATE TRIGGER forbid BEFORE INSERT ON project WHEN NEW.name = '{project}' "
            "BEGIN SELECT RAISE(ABORT, 'the trigger says no'); END"
        )
        connection.commit()
        connection.close()
        return
    import psycopg

    url = server.place[server.place.index("--database") + 1]
    with psycopg.connect(url, autocommit=True) as connection_:
        connection_.execute(f"ALTER TABLE project ADD CONSTRAINT ck_says_no CHECK (name <> '{project}')")


def test_a_broken_constraint_is_an_incident_with_its_cause_in_the_log_only(
    any_live_server: LiveServer,
) -> None:
    forbid_runs_of(any_live_server, "unlucky")
    with pytest.raises(grpc.RpcError) as failure:
        any_live_server.stubs().runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project="unlucky")))
    assert reason(failure) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    incident = failure.value.details().split()[-1]
    line = next(line for line in any_live_server.log.read_text().splitlines() if incident in line)
    assert "says no" in line.replace("_", " ")
    assert "says no" not in failure.value.details().replace("_", " ")


def test_every_foreign_key_that_may_race_is_in_the_schema() -> None:

    keys = {str(key.name) for table in Base.metadata.tables.values() for key in table.foreign_key_constraints}
    assert set(RACING_KEYS) <= keys
