"""Each request of the tables is refused as it says, and changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from google.protobuf.json_format import Error as JsonError
from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message

from modelyard import errors
from tests.parts.server import LiveServer, Stubs
from tests.wire.bad_input import content, lists, registry, runs
from tests.wire.bad_input.calling import call_over_http, reason_and_fields, refusal_of
from tests.wire.bad_input.cases import Case
from tests.wire.bad_input.scene import METHODS, Scene, make, messages

CASES = {case.name: case for table in (content, registry, runs, lists) for case in table.CASES}
SAMPLE = {
    name: case for number, (name, case) in enumerate(CASES.items()) if number % 11 == 0 or "U+0000" in name
}
"""The cases that are tried on PostgreSQL and S3, too: PostgreSQL has no texts with U+0000."""
OVER_HTTP = {
    name: case for name, case in list(CASES.items())[::3] if not METHODS[case.method].client_streaming
}
"""The cases that are tried over HTTP, too."""
UNSEEN = {"chunk", "number_mark", "pack", "pin", "sweep_time", "upload"}
"""Tables that change without a visible effect: chunks that arrived are kept, and background work notes
how far it is."""
Rows = Mapping[str, list[tuple[object, ...]]]


class Tables:
    """The rows of a server's database."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self._version = 0
        self._rows: Rows = {}

    def rows(self) -> Rows:
        """The rows of every table but those in `UNSEEN`; read again only after a commit."""
        ((version,),) = self._database.execute("PRAGMA data_version")
        if version != self._version:
            found = self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {name for (name,) in found} - UNSEEN
            self._rows = {
                name: self._database.execute(f'SELECT * FROM "{name}"').fetchall() for name in names
            }
            self._version = version
        return self._rows

    def close(self) -> None:
        """Closes the connection."""
        self._database.close()


@pytest.fixture(scope="module")
def tables(server: LiveServer) -> Iterator[Tables]:
    (path,) = server.data.glob("*.db")
    found = Tables(path)
    yield found
    found.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_refused_with_its_field_and_changes_nothing(
    tables: Tables, stubs: Stubs, scene: Scene, case: Case
) -> None:
    before = tables.rows()
    expect(stubs, scene, case)
    assert tables.rows() == before


@pytest.mark.parametrize("case", SAMPLE.values(), ids=SAMPLE)
def test_postgresql_and_s3_refuse_the_same(
    production_stubs: Stubs, production_scene: Scene, case: Case
) -> None:
    expect(production_stubs, production_scene, case)


@pytest.mark.parametrize("case", OVER_HTTP.values(), ids=OVER_HTTP)
def test_browsers_get_the_same_refusals(server: LiveServer, scene: Scene, case: Case) -> None:
    (request,) = messages(case.method, case.requests, scene)
    body, codec = as_json(request)
    _, error = call_over_http(server, case.method, body, codec)
    reason, fields = reason_and_fields(error)
    assert (reason, fields if case.field else []) == (case.reason, [case.field] if case.field else [])


def expect(stubs: Stubs, scene: Scene, case: Case) -> None:
    """Calls as the case says, and compares reason, status and field."""
    refusal = refusal_of(stubs, case.method, messages(case.method, case.requests, scene), seconds=30)
    assert refusal is not None, "the call succeeded"
    assert (refusal.reason, refusal.fields if case.field else []) == (
        case.reason,
        [case.field] if case.field else [],
    ), refusal
    assert refusal.code.value[0] == errors.BY_REASON[case.reason].code


def as_json(message: Message) -> tuple[bytes, str]:
    """The message as JSON; as Protobuf where JSON cannot express it, as with some times."""
    try:
        text = MessageToJson(message)
        if Parse(text, type(message)()) == message:
            return text.encode(), "json"
    except (ValueError, JsonError):
        pass
    return message.SerializeToString(), "proto"


@pytest.fixture(scope="module")
def production_stubs(production_server: LiveServer) -> Stubs:
    return production_server.stubs()


@pytest.fixture(scope="module")
def production_scene(production_stubs: Stubs) -> Scene:
    return make(production_stubs)
