"""A list of runs has what a look at every run finds, whichever way it takes, in pages of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.runs import run_lists
from modelyard_server.domain.runs.run_lists import Shown
from tests.inprocess.databases import EmptyDatabases, opened, sqlite_database
from tests.inprocess.run_oracle import MadeRun, RunCatalog, fill, in_order_of
from tests.inprocess.search_oracle import LONG, ODD_KEY, compare, look

pytestmark = pytest.mark.slow
Question: TypeAlias = tuple[str, Callable[[MadeRun], bool]]
"""A filter, and what it means."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunCatalog]:
    if request.param == "sqlite":
        with sqlite_database(tmp_path_factory.mktemp("runs")) as database:
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


KEYS: list[tuple[str, tuple[str, ...]]] = [
    ("config", ("lr",)),
    ("config", ("opt",)),
    ("config", (ODD_KEY,)),
    ("summary", ("acc",)),
    ("summary", ("any",)),
    ("summary", ("any", "deep")),
    ("summary", ("many", "k7")),
]
VALUES = st.sampled_from(
    [
        0.1,
        0.9,
        0.999,
        0.5,
        0,
        1,
        7,
        -2.5,
        (1 << 53) + 1,
        True,
        False,
        "",
        "0.5",
        "adam",
        LONG,
        LONG + "b",
        ...,
    ]
)
PLAIN: list[Question] = [
    *((f'state = "{word}"', lambda made, word=word: made.state == word) for word in run_lists.RUN_STATES),
    ('state != "finished"', lambda made: made.state != "finished"),
    ('tags : "x"', lambda made: "x" in made.row["tags"]),
    ('tags : "rare"', lambda made: "rare" in made.row["tags"]),
    ('name = "run7"', lambda made: made.row["run_id"] == "run7"),
    ('name != "run7"', lambda made: made.row["run_id"] != "run7"),
    ('display_name : "RIVER-1"', lambda made: "river-1" in made.row["display_name"]),
    ('create_time > "2023-11-14T22:33:20Z"', lambda made: made.row["created_at"] > 1_700_001_200_000_000),
]


@st.composite
def of_map(draw: st.DrawFn) -> Question:
    (part, path), value = draw(st.sampled_from(KEYS)), draw(VALUES)
    known = [":"] if value is ... else ["=", "!="]
    if value is not ... and not isinstance(value, bool):
        known += ["<", "<=", ">", ">=", *([":"] if isinstance(value, str) else [])]
    operator = draw(st.sampled_from(known))
    text = f"{part}.{'.'.join(quoted(each) for each in path)} {operator} {literal(value)}"
    return text, lambda made: compare(look(made.row[part], path), operator, value)


def both(parts: list[Question], word: str, join: Callable[..., bool]) -> Question:
    text = f" {word} ".join(f"({part})" for part, _ in parts)
    return text, lambda made: join(holds(made) for _, holds in parts)


FILTERS: st.SearchStrategy[Question] = st.one_of(
    st.just(("", lambda _: True)),
    st.recursive(
        st.one_of(of_map(), st.sampled_from(PLAIN)),
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: both(parts, "AND", all)),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: both(parts, "OR", any)),
            inner.map(lambda one: (f"NOT ({one[0]})", lambda made: not one[1](made))),
        ),
        max_leaves=4,
    ),
)
ORDERS: dict[str, tuple[Callable[[MadeRun], Any], bool]] = {
    "": (lambda made: made.row["created_at"], True),
    "create_time": (lambda made: made.row["created_at"], False),
    "name desc": (lambda made: made.row["run_id"], True),
    "state": (lambda made: (made.state, made.row["created_at"]), False),
    "state desc": (lambda made: (made.state, made.row["created_at"]), True),
    "state, name": (lambda made: (made.state, made.row["run_id"]), False),
    "display_name, state": (lambda made: (made.row["display_name"], made.state), False),
}
KEY_ORDERS = {
    f"{part}.{'.'.join(quoted(each) for each in path)}{' desc' if descending else ''}": (
        part,
        path,
        descending,
    )
    for part, path in KEYS
    for descending in (False, True)
}


def answer(catalog: RunCatalog, project: str, question: Question, order_by: str) -> list[str]:
    found = [made for made in catalog.runs if project in ("", made.project) and question[1](made)]
    if order_by in KEY_ORDERS:
        part, path, descending = KEY_ORDERS[order_by]
        ordered = in_order_of(found, lambda made: made.row[part], path, descending=descending)
        return [made.id for made in ordered]
    key, descending = ORDERS[order_by]
    found.sort(key=lambda made: (key(made), made.id), reverse=descending)
    return [made.id for made in found]


@settings(max_examples=100, deadline=None)
@given(
    question=FILTERS,
    order_by=st.sampled_from([*ORDERS, *KEY_ORDERS]),
    project=st.sampled_from(["", "p", "q"]),
    size=st.sampled_from([3, 100, 1000]),
)
def test_a_list_has_what_a_look_at_every_run_finds_and_their_number(
    catalog: RunCatalog, question: Question, order_by: str, project: str, size: int
) -> None:
    expected = answer(catalog, project, question, order_by)
    seen: list[str] = []
    token = ""
    for _ in range(6):
        page = catalog.database.read(
            lambda session: run_lists.page(
                session,
                LOCAL,
                "acme",
                project,
                filter_=question[0],
                order_by=order_by,
                page_size=size,
                page_token=token,  # noqa: B023 - called at once
                shown=Shown(1 << 20, parts=(), total=True),
            )
        )
        assert page.total == len(expected), question[0]
        seen += [view.run.id for view in page.views]
        token = page.token
        if not token:
            break
    assert seen == expected[: size * 6], question[0]
