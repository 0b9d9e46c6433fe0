"""Filters mean the same on both databases, and errors point at the place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text, exists, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from modelyard import errors
from modelyard.contract import values
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Base
from modelyard_server.domain.search import filters
from modelyard_server.domain.search.filter_fields import Digest, Field, Has, Json, Number, TagList, Time, Word
from modelyard_server.domain.search.filter_fields import Text as TextField


class Tables(DeclarativeBase):
    type_annotation_map = Base.type_annotation_map


class Thing(Tables):
    __tablename__ = "filtered_thing"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    made: Mapped[int] = mapped_column(BigInteger)
    ended: Mapped[int | None] = mapped_column(BigInteger)
    digest: Mapped[bytes]
    tags: Mapped[list[str]]
    facts: Mapped[dict[str, Any]]
    state: Mapped[str | None] = mapped_column(Text)


class Alias(Tables):
    __tablename__ = "filtered_alias"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    thing_id: Mapped[int] = mapped_column(ForeignKey("filtered_thing.id"))


FIELDS: dict[str, Field] = {
    "name": TextField(Thing.name),
    "size": Number(Thing.size),
    "create_time": Time(Thing.made),
    "end_time": Time(Thing.ended),
    "digest": Digest(Thing.digest),
    "tags": TagList(Thing.tags),
    "metadata": Json(Thing.facts),
    "state": Word(Thing.state, ("running", "ended"), "THING_STATE_"),
    "aliases": Has(lambda name: exists().where(Alias.thing_id == Thing.id, Alias.name == name)),
}
ODD_KEY = 'ä"\\.[0]'
FACTS: list[dict[str, object]] = [
    {"acc": 0.9, "on": True, "lr": 1, "val": {"acc": 5}, "kinds": ["a", "b"]},
    {"acc": "0.95", "on": False, "a.b": 1, "kinds": "ab", "nothing": None},
    {"acc": float("nan"), "big": (1 << 62) + 1, ODD_KEY: {"ü": "deep"}, "val": "acc"},
    {"acc": -3, "val": [1], ODD_KEY: "text", "kinds": {"a": 1}, "x y": "50%_"},
]


def fill(session: Session) -> None:
    for index, facts in enumerate(FACTS):
        session.add(
            Thing(
                id=index,
                name=("bert", "BERT large", "t5 100%", "o'brien")[index],
                size=index * 1000,
                made=index * 1_000_000,
                ended=None if index < 2 else index,
                digest=bytes([index]) * 32,
                tags=["nlp", "größe"] if index % 2 == 0 else [],
                state=("running", "ended", "running", None)[index],
                facts={key: values.to_json(value) for key, value in facts.items()},
            )
        )
    session.flush()
    session.add(Alias(name="best", thing_id=2))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("filters")
        opened = Database(f"sqlite:///{folder / 'things.db'}")
    else:
        opened = Database(request.getfixturevalue("postgres_url"))
    Tables.metadata.create_all(opened.engine)
    opened.write(fill)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [0, 1, 2, 3]),
        ('name = "bert"', [0]),
        ("name = 'o\\'brien'", [3]),
        ('name != "bert"', [1, 2, 3]),
        ('name : "bert"', [0, 1]),
        ('name : "%"', [2]),
        ("size >= 1000 AND size < 3e3", [1, 2]),
        ("size > 999.5", [1, 2, 3]),
        ('create_time <= "1970-01-01T01:00:01+01:00"', [0, 1]),
        ('create_time = "1970-01-01T00:00:02.000000Z"', [2]),
        ('NOT end_time > "1971-01-01T00:00:00Z"', [0, 1, 2, 3]),
        (f'digest = "{"01" * 32}"', [1]),
        ('tags : "nlp"', [0, 2]),
        ('tags : "größe" AND NOT tags : "x"', [0, 2]),
        ('aliases : "best"', [2]),
        ('NOT aliases : "best"', [0, 1, 3]),
        ("metadata.acc >= 0.9", [0]),
        ("metadata.acc < 1", [0, 3]),
        ("metadata.acc != 0.9", [1, 2, 3]),
        ("NOT metadata.acc < 1", [1, 2]),
        ('metadata.acc = "0.95"', [1]),
        ('metadata.acc > "0"', [1]),
        ("metadata.acc : *", [0, 1, 2, 3]),
        ("metadata.nothing : *", [1]),
        ("metadata.val.acc = 5", [0]),
        ("metadata.big = 4611686018427387905", [2]),
        ("metadata.big > 4611686018427387904", [2]),
        ("metadata.on = true", [0]),
        ("metadata.on = false", [1]),
        ("metadata.on != true", [1, 2, 3]),
        ('metadata.kinds : "a"', [0, 1]),
        ('metadata.kinds : "b"', [0, 1]),
        ('metadata."a.b" = 1', [1]),
        ('metadata."x y" : "%_"', [3]),
        ('metadata."ä\\"\\\\.[0]" = "text"', [3]),
        ('metadata."ä\\"\\\\.[0]"."ü" = "deep"', [2]),
        ('metadata."ä\\"\\\\.[0]"."ü" : *', [2]),
        ('name = "bert" OR (name = "t5 100%" AND size = 0)', [0]),
        ('NOT name = "bert" AND NOT size > 1000 AND size > 0', [1]),
        ('name = "bert" OR NOT size < 3000 OR size = 1000', [0, 1, 3]),
        ('state = "running"', [0, 2]),
        ('state != "running"', [1, 3]),
        ('state = "THING_STATE_ENDED" OR state = "Running"', [0, 1, 2]),
        ('NOT state = "ended"', [0, 2, 3]),
        ('(name = "bert" OR name = "t5 100%") AND size = 2000', [2]),
        ('NOT (name = "bert" OR size > 0)', []),
        ('name = "x\'; DROP TABLE thing; --"', []),
        ("metadata.AND = 1", []),
    ],
)
def test_a_filter_finds_the_rows_it_describes(database: Database, text: str, found: list[int]) -> None:
    assert search(database, text) == found


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("nope = 1", 1),
        ("name", 5),
        ("name =", 7),
        ("name = bert", 8),
        ('name = "bert', 8),
        ("name = 1", 8),
        ("name == 1", 7),
        ('size = "1"', 8),
        ("size = true", 8),
        ("size = 99999999999999999999", 8),
        ("size : 1", 6),
        ("size = *", 8),
        ("size = 1 size = 2", 10),
        ("size = 1 AND", 13),
        ("(size = 1", 10),
        ('name = "bert" OR name = "t5 100%" AND size = 0', 35),
        ("size = 1 AND (size = 2 OR size = 3) OR size = 4", 37),
        ("size = 1 AND (size = 2 AND size = 3 OR size = 4)", 37),
        ("NOT size = 1 OR size = 2 AND size = 3", 26),
        ('state = "runing"', 9),
        ('state = "RUN_STATE_RUNNING"', 9),
        ('state : "running"', 7),
        ("size = 1)", 9),
        ("NOT", 4),
        ("size.x = 1", 5),
        ("metadata = 1", 9),
        ("metadata.on > true", 15),
        ('create_time > "yesterday"', 15),
        ('create_time > "2026-02-30T00:00:00Z"', 15),
        ('create_time > "2026-01-01T00:00:00"', 15),
        ('digest = "ab"', 10),
        ('tags = "nlp"', 6),
        ("size = 1 & 2", 10),
        ('name = "a\0b"', 8),
        ("(" * 40 + "size = 1" + ")" * 40, 33),
        (" OR ".join(["size = 1"] * 101), 1201),
    ],
)
def test_an_error_points_at_its_place(database: Database, text: str, position: int) -> None:
    with pytest.raises(errors.InvalidFilter) as caught:
        search(database, text)
    assert caught.value.metadata["position"] == str(position)
    line, shown, caret = str(caught.value).split("\n")
    assert f"character {position}:" in line
    pointed = shown[caret.index("^") : caret.index("^") + 1]
    assert pointed == text[position - 1 : position].replace("\n", " ")


def test_a_filter_too_long_is_refused(database: Database) -> None:
    with pytest.raises(errors.InvalidFilter):
        search(database, f'name = "{"x" * 4096}"')


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.sampled_from("name size metadata.acc()=<>:!*\"'\\ 0.9ANDORNOT\n\t%&"), max_size=40))
def test_any_text_is_a_filter_or_an_invalid_one(database: Database, text: str) -> None:
    try:
        search(database, text)
    except errors.InvalidFilter as error:
        assert error.violations or error.metadata  # noqa: PT017 - both outcomes are fine


@settings(max_examples=50, deadline=None)
@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_a_quoted_text_matches_only_itself(database: Database, value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    expected = [i for i, name in enumerate(("bert", "BERT large", "t5 100%", "o'brien")) if name == value]
    assert search(database, f'name = "{quoted}"') == expected
    assert search(database, f'metadata."k{quoted}" = "{quoted}"') == []


def search(database: Database, text: str) -> list[int]:
    def run(session: Session) -> list[int]:
        query = select(Thing.id).order_by(Thing.id)
        condition = filters.condition(session, text, FIELDS)
        return list(session.scalars(query if condition is None else query.where(condition)))

    return database.read(run)
