"""A search finds what a scan of all versions finds, by every query plan and in pages of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard_server.db.tables import Collection
from modelyard_server.domain.access.authorize import reach
from modelyard_server.domain.access.principals import LOCAL, Principal
from modelyard_server.domain.registry import version_lists
from tests.inprocess.databases import EmptyDatabases, opened, sqlite_database
from tests.inprocess.registry import somebody
from tests.inprocess.search_oracle import (
    LONG,
    MISSING,
    NAMES,
    ODD_KEY,
    Catalog,
    Made,
    compare,
    fill,
    in_order_of,
    look,
)

pytestmark = pytest.mark.slow
INSIDER = somebody("insider", "acme")
Predicate: TypeAlias = Callable[[Made, Principal], bool]
Question: TypeAlias = tuple[str, Predicate]
"""A filter, and what it means."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    if request.param == "sqlite":
        with sqlite_database(tmp_path_factory.mktemp("search")) as database:
            yield fill(database)
    else:
        databases: EmptyDatabases = request.getfixturevalue("empty_databases")
        with databases.one() as url, opened(url) as database:
            yield fill(database)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(value: Any) -> str:
    if value is ...:
        return "*"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)


SCALARS = [
    *(0.9, 0.999, 0.001, 0.5, 0, 1, -2.5, 1.0, 1 << 53, (1 << 53) + 1, float(1 << 53), (1 << 62) + 1),
    *(1e300, True, False, "", "0.5", "true", "Ä", "adam", LONG, LONG + "b", "z", ...),
]
VALUES = st.sampled_from(SCALARS)


def operators(value: Any) -> list[str]:
    if value is ...:
        return [":"]
    if isinstance(value, bool):
        return ["=", "!="]
    return ["=", "!=", "<", "<=", ">", ">=", *([":"] if isinstance(value, str) else [])]


@st.composite
def of_document(
    draw: st.DrawFn, name: str, keys: list[tuple[str, ...]], read: Callable[..., Any]
) -> Question:
    path, value = draw(st.sampled_from(keys)), draw(VALUES)
    known = (
        [":"]
        if value is ...
        else ["=", "!="]
        if isinstance(value, bool)
        else ["=", "!=", "<", "<=", ">", ">="]
    )
    operator_ = draw(st.sampled_from([*known, ":"] if isinstance(value, str) else known))
    text = f"{name}.{'.'.join(quoted(part) for part in path)} {operator_} {literal(value)}"
    return text, lambda made, who: compare(look(read(made, who), path), operator_, value)


def run_of(made: Made, who: Principal) -> Any:
    seen = reach(who)
    return made.run if made.run and (seen is None or made.run_entity in seen) else {}


def plain(text: str, holds: Callable[[Made], bool]) -> st.SearchStrategy[Question]:
    return st.just((text, lambda made, _: holds(made)))


MOMENT = "2023-11-14T22:33:20Z"  # that of number 1200
PLAIN = [
    plain('tags : "x"', lambda made: "x" in made.row["tags"]),
    plain('tags : "rare"', lambda made: "rare" in made.row["tags"]),
    plain('aliases : "best"', lambda made: "best" in made.aliases),
    plain('aliases : "none"', lambda made: False),
    plain('name = "tiny"', lambda made: made.name == "tiny"),
    plain('name = "bert"', lambda made: made.name == "bert"),
    plain('name != "bert"', lambda made: made.name != "bert"),
    plain('name : "T"', lambda made: "t" in made.name),
    plain('project = "q"', lambda made: made.project == "q"),
    plain('type = "dataset"', lambda made: False),
    plain("number < 3", lambda made: made.row["number"] < 3),
    plain("size_bytes >= 500000.5", lambda made: made.row["size"] >= 500001),
    plain(f'create_time > "{MOMENT}"', lambda made: made.row["created_at"] > 1_700_001_200_000_000),
    st.just(('run.name = "run7"', lambda made, who: run_of(made, who).get("run_id") == "run7")),
    st.just(('run.name != "run7"', lambda made, who: run_of(made, who).get("run_id") != "run7")),
    st.just(
        (
            'run.display_name : "RIVER-1"',
            lambda made, who: "river-1" in run_of(made, who).get("display_name", ""),
        )
    ),
]
QUESTIONS = st.one_of(
    of_document(
        "metadata",
        [
            ("acc",),
            ("acc",),
            ("any",),
            ("late",),
            ("few",),
            (ODD_KEY,),
            ("any", "deep"),
            ("many", "k7"),
            ("no",),
        ],
        lambda made, _: made.row["metadata_"],
    ),
    of_document(
        "run.summary", [("acc",), ("end",), ("end", "deep")], lambda *of: run_of(*of).get("summary", MISSING)
    ),
    of_document("run.config", [("lr",), ("opt",)], lambda *of: run_of(*of).get("config", MISSING)),
    st.one_of(*PLAIN),
)


def both(parts: list[Question], word: str, join: Callable[..., bool]) -> Question:
    text = f" {word} ".join(f"({part})" for part, _ in parts)
    return text, lambda made, who: join(holds(made, who) for _, holds in parts)


FILTERS: st.SearchStrategy[Question] = st.one_of(
    plain("", lambda _: True),
    st.recursive(
        QUESTIONS,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: both(parts, "AND", all)),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: both(parts, "OR", any)),
            inner.map(lambda one: (f"NOT ({one[0]})", lambda made, who: not one[1](made, who))),
        ),
        max_leaves=4,
    ),
)
PLAIN_ORDERS: dict[str, tuple[Callable[[Made], Any], bool]] = {
    "": (lambda made: made.row["created_at"], True),
    "create_time": (lambda made: made.row["created_at"], False),
    "size_bytes desc": (lambda made: made.row["size"], True),
    "name, number": (lambda made: (made.name, made.row["number"]), False),
}
METADATA_ORDERS = {
    "metadata.acc desc": (("acc",), True),
    "metadata.acc": (("acc",), False),
    "metadata.any desc": (("any",), True),
    "metadata.any.deep": (("any", "deep"), False),
    f"metadata.{quoted(ODD_KEY)}": ((ODD_KEY,), False),
}


def answer(
    catalog: Catalog, who: Principal, place: dict[str, str], question: Question, order_by: str
) -> list[str]:
    found = [
        made
        for made in catalog.versions
        if all(getattr(made, name) == value for name, value in place.items()) and question[1](made, who)
    ]
    if order_by in METADATA_ORDERS:
        path, descending = METADATA_ORDERS[order_by]
        return [made.row["id"] for made in in_order_of(found, path, descending=descending)]
    key, descending = PLAIN_ORDERS[order_by]
    found.sort(key=lambda made: (key(made), made.row["id"]), reverse=descending)
    return [made.row["id"] for made in found]


def pages(
    catalog: Catalog, who: Principal, place: dict[str, str], size: int, most: int, **asked: str
) -> list[str]:
    seen: list[str] = []
    token = ""
    for _ in range(most):
        rows, token = catalog.database.read(
            lambda session: version_lists.page(
                session,
                who,
                _artifact(session, catalog, place),
                entity="" if "name" in place else place["entity"],
                project="" if "name" in place else place.get("project", ""),
                page_size=size,
                page_token=token,  # noqa: B023 - called at once
                filter_=asked["filter_"],
                order_by=asked["order_by"],
            )
        )
        seen += [row.id for row in rows]
        if not token:
            break
    return seen


def _artifact(session: Any, catalog: Catalog, place: dict[str, str]) -> Collection | None:
    if "name" not in place:
        return None
    row = catalog.collections[f"{place['entity']}/{place['project']}", place["name"]]
    found: Collection = session.get(Collection, row["id"])
    return found


PLACES: list[dict[str, str]] = [
    {"entity": "acme"},
    {"entity": "acme", "project": "p"},
    {"entity": "acme", "project": "q"},
    {"entity": "acme", "project": "p", "name": NAMES[0]},
]


@settings(max_examples=80, deadline=None)
@given(
    question=FILTERS,
    order_by=st.sampled_from([*PLAIN_ORDERS, *METADATA_ORDERS]),
    place=st.sampled_from(PLACES),
    size=st.sampled_from([3, 100, 1000]),
    who=st.sampled_from([LOCAL, INSIDER]),
)
def test_a_search_finds_what_a_scan_of_all_versions_finds(
    catalog: Catalog, question: Question, order_by: str, place: dict[str, str], size: int, who: Principal
) -> None:
    if order_by == "" and "name" in place:
        order_by = "create_time"
    expected = answer(catalog, who, place, question, order_by)
    found = pages(catalog, who, place, size, 6, filter_=question[0], order_by=order_by)
    assert found == expected[: size * 6], question[0]


@pytest.mark.parametrize("path", [("few",), (ODD_KEY,), ("many", "k1")])
def test_each_comparison_alone_finds_what_a_scan_finds(catalog: Catalog, path: tuple[str, ...]) -> None:
    for value in SCALARS:
        for operator in operators(value):
            text = f"metadata.{'.'.join(quoted(part) for part in path)} {operator} {literal(value)}"

            def holds(made: Made, _: Principal, operator: str = operator, value: Any = value) -> bool:
                return compare(look(made.row["metadata_"], path), operator, value)

            expected = answer(catalog, LOCAL, PLACES[1], (text, holds), "")
            assert pages(catalog, LOCAL, PLACES[1], 1000, 1, filter_=text, order_by="") == expected[:1000], (
                text
            )
