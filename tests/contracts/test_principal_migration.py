"""The migration to principals with ids: who owns older keys, replies and uploads afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from modelyard import errors
from modelyard_server.db import migrations
from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from modelyard_server.domain import events, requests
from modelyard_server.domain.access import keys
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, Principal
from modelyard_server.domain.content import uploads
from tests.inprocess import earlier_schemas

CONTENT = b"c" * 32
ENTITIES = {"a": 1, "b": 2}


class Older:
    """A database with rows of the schema before, and what they are after `migrate`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        earlier_schemas.make(database, "0002")
        for name, number in ENTITIES.items():
            self.add("entity", id=number, name=name, created_at=1)

    def add(self, table: str, **row: Any) -> None:
        """Inserts a row."""
        names, given = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
        with self.database.engine.begin() as connection:
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({given})"), row)

    def id(self) -> str:
        """A new id as the database's text statements take it."""
        return new_id().replace("-", "") if self.database.is_sqlite else new_id()

    def key(self, token: str, name: str, entity: str, *, all_entities: bool = False) -> None:
        """A key."""
        self.add(
            "api_key", id=self.id(), hash=keys.digest(token), principal=name, entity=entity,
            all_entities=all_entities, created_at=1,
        )  # fmt: skip

    def request(self, name: str) -> None:
        """A stored reply."""
        self.add(
            "request", principal=name, method="/m", request_id="r", content_hash=CONTENT, reply=b"reply",
            created_at=1,
        )  # fmt: skip

    def upload(self, name: str, entity: str) -> str:
        """An open upload."""
        id_ = self.id()
        self.add(
            "upload", id=id_, entity_id=ENTITIES[entity], project="p", principal=name, created_at=1,
            expires_at=2**60,
        )  # fmt: skip
        return id_

    def pin(self, upload_id: str) -> None:
        """A chunk that the upload holds."""
        pack_id = self.id()
        self.add("pack", id=pack_id, entity_id=1, size=1, state="live", changed_at=1)
        self.add("chunk", id=1, entity_id=1, digest=CONTENT, pack_id=pack_id, offset=0, size=1)
        self.add("pin", upload_id=upload_id, chunk_id=1)

    def migrate(self) -> None:
        """Brings the schema to today's."""
        assert migrations.upgrade(self.database)

    def owner(self, token: str) -> Principal:
        """Whose key it is."""
        found = self.database.read(lambda session: keys.owner(session, keys.digest(token)))
        assert found is not None
        return found

    def reply(self, who: Principal) -> bytes | None:
        """The stored reply that they get."""
        return self.database.read(lambda session: requests.stored(session, who, "/m", "r", CONTENT))

    def held(self, who: Principal, upload_id: str) -> list[bytes] | None:
        """The chunks that their upload holds; None where it is not open to them."""
        try:
            return self.database.read(
                lambda session: list(uploads.held(session, uploads.find(session, who, upload_id), [CONTENT]))
            )
        except errors.UploadExpired:
            return None


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Older]:
    """An older database of each kind."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'old.db'}" if sqlite else request.getfixturevalue("postgres_database")
    database = Database(url, finish=events.flush)
    yield Older(database)
    database.close()


def test_todays_keys_keep_the_rights_they_have(older: Older) -> None:
    older.key("first", "ci", "a")
    older.key("rotated", "ci", "a")
    older.key("other", "ci", "b")
    older.key("wide", "ops", "a", all_entities=True)
    older.migrate()
    first, rotated, other, wide = map(older.owner, ("first", "rotated", "other", "wide"))
    assert first == rotated
    assert (first.name, first.entity, first.all_entities) == ("ci", "a", False)
    assert (other.name, other.entity, other.all_entities) == ("ci", "b", False)
    assert (wide.name, wide.entity, wide.all_entities) == ("ops", "a", True)
    assert len({first.id, other.id, wide.id}) == 3
    made, _ = older.database.write(lambda session: keys.create(session, "ci", "b"))
    assert made.principal == other


def test_open_uploads_go_on_for_the_team_whose_entity_they_are_in(older: Older) -> None:
    older.key("first", "ci", "a")
    older.key("other", "ci", "b")
    older.key("wide", "ops", "a", all_entities=True)
    ours, theirs, elsewhere = older.upload("ci", "a"), older.upload("ci", "b"), older.upload("ops", "b")
    older.pin(ours)
    older.migrate()
    first, other, wide = map(older.owner, ("first", "other", "wide"))
    assert [older.held(first, upload) for upload in (ours, theirs)] == [[CONTENT], None]
    assert [older.held(other, upload) for upload in (ours, theirs)] == [None, []]
    assert older.held(wide, elsewhere) == []


def test_an_upload_whose_owner_is_not_certain_ends(older: Older) -> None:
    older.key("first", "ci", "a", all_entities=True)
    older.key("other", "ci", "b")
    upload = older.upload("ci", "b")
    older.migrate()
    assert [older.held(older.owner(token), upload) for token in ("first", "other")] == [None, None]


def test_stored_replies_stay_with_their_principal(older: Older) -> None:
    older.key("narrow", "ci", "a")
    older.key("wide", "ops", "a", all_entities=True)
    older.key("wide, narrowed", "ops", "a")
    for name in ("ci", "ops"):
        older.request(name)
    older.migrate()
    assert older.reply(older.owner("narrow")) == older.reply(older.owner("wide")) == b"reply"
    with pytest.raises(errors.NotAllowed):  # in which entity it was is not known
        older.reply(older.owner("wide, narrowed"))


def test_stored_replies_of_a_name_that_two_teams_share_go_to_neither(older: Older) -> None:
    older.key("first", "ci", "a")
    older.key("other", "ci", "b")
    older.request("ci")
    older.migrate()
    assert older.reply(older.owner("first")) is None
    assert older.reply(older.owner("other")) is None


def test_callers_without_a_key_keep_their_replies_and_uploads(older: Older) -> None:
    older.request("local")
    upload = older.upload("local", "b")
    older.migrate()
    assert older.reply(LOCAL) == older.reply(FOLDER_OWNER) == b"reply"
    assert older.held(FOLDER_OWNER if older.database.is_sqlite else LOCAL, upload) == []


def test_a_key_named_local_gets_nothing_of_callers_without_a_key(older: Older) -> None:
    older.key("named local", "local", "a", all_entities=True)
    older.request("local")
    upload = older.upload("local", "b")
    older.migrate()
    who = older.owner("named local")
    assert older.reply(who) is None
    assert older.held(who, upload) is None
