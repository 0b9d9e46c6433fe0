"""Pages by key: nothing twice, nothing missing, and tokens that fit one query only."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, ColumnElement, Double, LargeBinary, String, Uuid, column, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from modelyard import errors
from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from modelyard_server.domain.search import paging
from modelyard_server.domain.search.paging import OrderBy


class Tables(DeclarativeBase):
    pass


class Row(Tables):
    __tablename__ = "paged_row"
    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    size: Mapped[int] = mapped_column(BigInteger)


ALLOWED: dict[str, ColumnElement[Any]] = {"name": Row.name.expression, "size": Row.size.expression}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("paging")
        opened = Database(f"sqlite:///{folder / 'rows.db'}")
    else:
        opened = Database(request.getfixturevalue("postgres_url"))
    Tables.metadata.create_all(opened.engine)
    yield opened
    opened.close()


def fill(session: Session, rows: Sequence[tuple[str, int]]) -> None:
    session.execute(delete(Row))
    session.add_all(Row(id=new_id(), name=name, size=size) for name, size in rows)


def get(
    database: Database, order_by: str, size: int, token: str = "", binding: Sequence[object] = ("q",)
) -> Any:
    order = OrderBy.parse(order_by, ALLOWED, default="name", tie=Row.id.expression)
    return database.read(
        lambda s: paging.page(s, select(Row), order=order, size=size, token=token, binding=binding)
    )


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcde"), st.integers(-3, 3)), max_size=12),
    size=st.integers(1, 5),
    order_by=st.sampled_from(
        ["name", "name desc", "size desc, name", "size, name desc", "size desc,name desc", ""]
    ),
)
def test_all_pages_together_are_the_whole_list(
    database: Database, rows: list[tuple[str, int]], size: int, order_by: str
) -> None:
    database.write(lambda s: fill(s, rows))
    whole, end = get(database, order_by, 1000)
    assert (end, len(whole)) == ("", len(rows))
    seen: list[str] = []
    token = ""
    while True:
        page, token = get(database, order_by, size, token)
        assert len(page) == size or token == ""
        seen += [row.id for row in page]
        if not token:
            break
    assert seen == [row.id for row in whole]
    terms = [(part.split()[0], part.endswith("desc")) for part in (order_by or "name").split(",")]
    keys = [[getattr(row, name.strip()) for name, _ in terms] for row in whole]
    for left, right in pairwise(keys):
        for (_, descending), a, b in zip(terms, left, right, strict=True):
            if a != b:
                assert (a > b) == descending
                break


def test_inserted_and_deleted_rows_do_not_shift_pages(database: Database) -> None:
    database.write(lambda s: fill(s, [(name, 0) for name in "bdfh"]))
    first, token = get(database, "name", 2)
    database.write(
        lambda s: s.add_all([Row(id=new_id(), name="a", size=0), Row(id=new_id(), name="e", size=0)])
    )
    database.write(lambda s: s.delete(s.merge(first[0])))
    rest, _ = get(database, "name", 10, token)
    assert [row.name for row in rest] == ["e", "f", "h"]


def test_a_select_of_several_columns_gives_tuples(database: Database) -> None:
    database.write(lambda s: fill(s, [("a", 1), ("b", 2)]))
    order = OrderBy.parse("name", ALLOWED, default="name", tie=Row.id.expression)
    query = select(Row.name, Row.size)
    page, token = database.read(lambda s: paging.page(s, query, order=order, size=1, token="", binding=()))
    assert page == [("a", 1)]
    page, _ = database.read(lambda s: paging.page(s, query, order=order, size=1, token=token, binding=()))
    assert page == [("b", 2)]


def test_only_the_page_size_may_change_between_pages(database: Database) -> None:
    database.write(lambda s: fill(s, [(name, 0) for name in "abcd"]))
    _, token = get(database, "name", 1)
    assert [row.name for row in get(database, "name", 2, token)[0]] == ["b", "c"]
    with pytest.raises(errors.InvalidPageToken):
        get(database, "name", 1, token, ("another",))
    with pytest.raises(errors.InvalidPageToken):
        get(database, "size desc, name", 1, token)


@given(
    token=st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda b: base64.b64encode(b).decode()))
)
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(errors.InvalidPageToken):
        paging.decode(token, ("q",), [column("a", String())])


@given(position=st.integers(0, 200), replacement=st.sampled_from("Aa0_-Z9"))
def test_a_changed_token_is_refused_or_the_same(position: int, replacement: str) -> None:
    columns: list[Any] = [column("a", String()), column("b", BigInteger())]
    token = paging.encode(("q",), ["name", 7])
    changed = token[: position % len(token)] + replacement + token[position % len(token) + 1 :]
    try:
        assert paging.decode(changed, ("q",), columns) == ["name", 7]
    except errors.InvalidPageToken:
        assert changed != token


VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (String(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    "number": (BigInteger(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "float": (Double(), st.floats(allow_nan=False, allow_infinity=False)),
    "bytes": (LargeBinary(), st.binary(max_size=1024)),
    "id": (Uuid(as_uuid=False), st.uuids().map(str)),
}


@given(data=st.data(), kinds=st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
def test_a_token_decodes_to_its_values(data: st.DataObject, kinds: list[str]) -> None:
    position = [data.draw(VALUES[kind][1]) for kind in kinds]
    columns: list[Any] = [column(kind, VALUES[kind][0]) for kind in kinds]
    assert paging.decode(paging.encode(("q", 1), position), ("q", "1"), columns) == position


@pytest.mark.parametrize("position", [["x"], [1, 2], [True], [1.5], [None], [{"b": "00"}], [1 << 63], []])
def test_a_token_with_values_of_other_kinds_is_refused(position: list[Any]) -> None:
    plain = json.dumps([1, paging._hash(("q",), position), position]).encode()
    token = base64.urlsafe_b64encode(plain).decode().rstrip("=")
    with pytest.raises(errors.InvalidPageToken):
        paging.decode(token, ("q",), [column("n", BigInteger())])


@pytest.mark.parametrize("order_by", ["nope", "name down", "name desc desc", "name,", "name; drop", "NAME"])
def test_an_order_that_is_not_allowed_is_refused(order_by: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        OrderBy.parse(order_by, ALLOWED, default="name", tie=Row.id.expression)
    assert caught.value.violations[0][0] == "order_by"


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(errors.InvalidField) as caught:
        paging.check_size(-1)
    assert caught.value.violations[0][0] == "page_size"


def test_the_default_size() -> None:
    assert (paging.check_size(0), paging.check_size(1), paging.check_size(1000)) == (50, 1, 1000)


@pytest.mark.parametrize("size", [1001, (1 << 31) - 1])
def test_a_size_above_the_limit_is_the_limit(size: int) -> None:
    assert paging.check_size(size) == 1000
