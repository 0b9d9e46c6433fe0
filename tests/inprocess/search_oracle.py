"""A database of many versions, and a model of it in plain Python that answers every query by a scan."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from modelyard.contract import values
from modelyard_server.db.attributes import LEAF_LIMIT, TEXT_LIMIT
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.search import candidates
from tests.inprocess import bulk_rows

COUNT = candidates.FEW + 1200
"""Versions: common values are walked, rare ones looked up."""
LONG = "y" * (TEXT_LIMIT + 50)
ODD_KEY = 'a.b\\"c'
TAGS = {"x": 0.9, "rare": 0.004, "w-1": 0.3}
NAMES = ("bert", "t5", "gpt-2")
MISSING = object()
Row = dict[str, Any]


@dataclass
class Made:
    """A version as the model knows it."""

    row: Row
    entity: str
    project: str
    name: str
    run: Row | None
    run_entity: str
    aliases: set[str] = field(default_factory=set)


@dataclass
class Catalog:
    """`versions` holds those that are not deleted, in no order."""

    database: Database
    versions: list[Made]
    collections: dict[tuple[str, str], Row]


def scalar(chance: random.Random) -> Any:
    """A value of any kind; in its JSON form."""
    return values.to_json(
        chance.choice(
            [
                chance.random(),
                chance.randint(-3, 3),
                float(chance.randint(-1, 1)),
                (1 << 53) + chance.randint(0, 2),
                (1 << 62) + chance.randint(0, 1),
                chance.random() < 0.5,
                None,
                float("nan"),
                float("inf"),
                chance.choice(["", "0.5", "true", "Ä", "adam", "Adam W"]),
                LONG + chance.choice("abc"),
                ["adam", 1, LONG],
                {"deep": chance.randint(0, 2)},
            ]
        )
    )


def facts(chance: random.Random, number: int) -> Row:
    """The metadata of a version."""
    made: Row = {"acc": chance.random(), "late": number > COUNT - 30, "any": scalar(chance)}
    if chance.random() < 0.1:
        made["acc"] = scalar(chance)
    if chance.random() < 0.3:
        made["few"] = scalar(chance)
    if chance.random() < 0.3:
        made[ODD_KEY] = scalar(chance)
    if number % 50 == 0:
        made["many"] = {f"k{each}": each for each in range(LEAF_LIMIT)}
    return made


def fill(database: Database) -> Catalog:
    """Most versions are in `acme/p`, some in `acme/q`; `other/p` is never searched."""
    chance = random.Random(7)

    def places(session: Session) -> dict[str, tuple[int, int]]:
        made = [owners.ensure_project(session, LOCAL, *path.split("/")) for path in paths]
        return {path: (row.entity_id, row.id) for path, row in zip(paths, made, strict=True)}

    paths = ["acme/p", "acme/q", "other/p"]
    where = database.write(places)
    runs = [_run(chance, number, where, paths) for number in range(200)]
    collections = {
        (path, name): bulk_rows.collection_row(where[path][1], number, "artifact", name)
        for path in paths
        for number, name in enumerate([*NAMES, "tiny"])
    }
    made = [_version(chance, number, where, paths, collections, runs) for number in range(COUNT)]
    live = [one for one in made if one.row["deleted_at"] is None]
    index = [
        row
        for one in live
        for row in bulk_rows.indexed(
            one.row, where[f"{one.entity}/{one.project}"], {"metadata_": "metadata", "tags": "tags"}
        )
    ]
    for path, run in runs:
        index += bulk_rows.indexed(run, where[path], bulk_rows.RUN_MAPS)
    bulk_rows.store_runs(database, [run for _, run in runs])
    bulk_rows.store(database, Collection, collections.values())
    bulk_rows.store(database, ArtifactVersion, [one.row for one in made])
    bulk_rows.store(
        database,
        Alias,
        [
            bulk_rows.alias_row(
                collections[f"{one.entity}/{one.project}", one.name],
                where[f"{one.entity}/{one.project}"],
                alias,
                one.row["id"],
            )
            for one in made
            for alias in one.aliases
        ],
    )
    bulk_rows.store_index(database, index)
    bulk_rows.analyze(database)
    return Catalog(database, live, collections)


def _run(
    chance: random.Random, number: int, where: dict[str, tuple[int, int]], paths: Sequence[str]
) -> tuple[str, Row]:
    path = chance.choices(paths, [8, 1, 1])[0]
    config = {"lr": scalar(chance), "opt": chance.choice(["adam", "sgd"])}
    summary = {"acc": chance.random(), "end": scalar(chance)}
    return path, bulk_rows.run_row(where[path], number, config, summary)


def _version(
    chance: random.Random,
    number: int,
    where: dict[str, tuple[int, int]],
    paths: Sequence[str],
    collections: dict[tuple[str, str], Row],
    runs: Sequence[tuple[str, Row]],
) -> Made:
    path = chance.choices(paths, [20, 2, 1])[0]
    name = "tiny" if number % 400 == 0 else chance.choice(NAMES)
    run_path, run = chance.choice(runs) if chance.random() < 0.7 else ("", None)
    tags = [tag for tag, share in TAGS.items() if chance.random() < share]
    made = facts(chance, number)
    row = bulk_rows.version_row(
        collections[path, name], where[path], number, made, tags, run["id"] if run else None
    )
    row["deleted_at"] = 1 if number % 17 == 5 else None
    aliases = {"best"} if name == "tiny" and row["number"] == 0 else set()
    entity, project = path.split("/")
    return Made(row, entity, project, name, run, run_path.partition("/")[0], aliases)


def look(document: Any, path: Sequence[str]) -> Any:
    """What lies at a path, or MISSING."""
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return MISSING
        document = document[key]
    return document


def compare(found: Any, operator: str, wanted: Any) -> bool:
    """A comparison with a value in a document."""
    if operator == "!=":
        return not compare(found, "=", wanted)
    if wanted is ...:
        return found is not MISSING
    if operator == ":":
        if isinstance(found, list):
            return wanted in [item for item in found if isinstance(item, str)]
        return isinstance(found, str) and _lower(wanted) in _lower(found)
    kinds: Any = bool if isinstance(wanted, bool) else str if isinstance(wanted, str) else int | float
    if not isinstance(found, kinds) or isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return COMPARE[operator](found, wanted)


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def in_order_of(versions: Sequence[Made], path: Sequence[str], *, descending: bool) -> list[Made]:
    """Numbers, then texts by their beginning, then the rest by their time; ties by id."""
    numbers, texts, rest = [], [], []
    for one in versions:
        found = look(one.row["metadata_"], path) if "many" not in one.row["metadata_"] else MISSING
        if isinstance(found, int | float) and not isinstance(found, bool):
            numbers.append(((float(found), one.row["id"]), one))
        elif isinstance(found, str):
            texts.append(((found[:TEXT_LIMIT], one.row["id"]), one))
        else:
            rest.append(((one.row["created_at"], one.row["id"]), one))
    parts: list[list[tuple[Any, Made]]] = [numbers, texts, rest]
    return [one for part in parts for _, one in sorted(part, key=lambda pair: pair[0], reverse=descending)]


def _lower(text: str) -> str:
    """As the databases do, where the locale is C."""
    return "".join(each.lower() if each.isascii() else each for each in text)
