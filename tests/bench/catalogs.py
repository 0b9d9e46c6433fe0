"""A catalog of any size, written straight into a database: versions, their runs, registered models, links."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import LOCAL
from tests.inprocess import bulk_rows
from tests.inprocess.bulk_rows import Row

PROJECTS = ("vision", "speech", "text", "ranking")
VERSIONS_AN_ARTIFACT = 20
VERSIONS_A_RUN = 4
LINKS_A_MODEL = 3
TAGS = {"x": 0.001, "nlp": 0.05, "checked": 0.5}
_PORTION = 20_000
Owners = tuple[int, int]


@dataclass(frozen=True)
class Names:
    """Something of each to ask for; `alias` is a full reference."""

    artifact: str
    model: str
    alias: str


def fill(database: Database, versions: int, models: int, *, entity: str = "local") -> Names:
    """So many versions, newest last, and registered models that link some of them."""
    chance = random.Random(versions)
    projects = database.write(lambda session: _projects(session, entity))
    sources: list[str] = []
    for first in range(0, versions, _PORTION):
        sources += _portion(database, chance, projects, range(first, min(first + _PORTION, versions)))
    _models(database, chance, projects["model-registry"], sources, models)
    bulk_rows.analyze(database)
    artifact = _artifact_name(versions // 2 // VERSIONS_AN_ARTIFACT)
    project = PROJECTS[(versions // 2 // VERSIONS_AN_ARTIFACT) % len(PROJECTS)]
    return Names(artifact, "model 7", f"{entity}/{project}/{artifact}:best")


def _projects(session: Session, entity: str) -> dict[str, Owners]:
    rows = [owners.ensure_project(session, LOCAL, entity, name) for name in (*PROJECTS, "model-registry")]
    return {row.name: (row.entity_id, row.id) for row in rows}


def _artifact_name(number: int) -> str:
    return f"classifier-{number}"


def _portion(
    database: Database, chance: random.Random, projects: dict[str, Owners], numbers: range
) -> Iterator[str]:
    runs: list[Row] = []
    artifacts: list[Row] = []
    made: list[Row] = []
    aliases: list[Row] = []
    index: list[Row] = []
    for number in numbers:
        place = projects[PROJECTS[number // VERSIONS_AN_ARTIFACT % len(PROJECTS)]]
        if number % VERSIONS_AN_ARTIFACT == 0:
            name = _artifact_name(number // VERSIONS_AN_ARTIFACT)
            artifacts.append(bulk_rows.collection_row(place[1], number, "artifact", name))
        if number % VERSIONS_A_RUN == 0:
            runs.append(_run(chance, place, number))
            index += bulk_rows.indexed(runs[-1], place, bulk_rows.RUN_MAPS)
        tags = [tag for tag, share in TAGS.items() if chance.random() < share]
        row = bulk_rows.version_row(artifacts[-1], place, number, _facts(chance), tags, runs[-1]["id"])
        index += bulk_rows.indexed(row, place, {"metadata_": "metadata", "tags": "tags"})
        if number % VERSIONS_AN_ARTIFACT == 7:
            aliases.append(bulk_rows.alias_row(artifacts[-1], place, "best", row["id"]))
        if number % VERSIONS_AN_ARTIFACT == VERSIONS_AN_ARTIFACT - 1:
            aliases.append(bulk_rows.alias_row(artifacts[-1], place, "latest", row["id"]))
        made.append(row)
    bulk_rows.store_runs(database, runs)
    for kind, rows in ((Collection, artifacts), (ArtifactVersion, made), (Alias, aliases)):
        bulk_rows.store(database, kind, rows)
    bulk_rows.store_index(database, index)
    return (row["id"] for row in made)


def _facts(chance: random.Random) -> Row:
    return {
        "acc": chance.random(),
        "framework": chance.choice(["torch", "jax", "sklearn"]),
        "epochs": chance.randint(1, 100),
        "data": {"rows": chance.randint(1, 1_000_000)},
    }


def _run(chance: random.Random, place: Owners, number: int) -> Row:
    config: dict[str, Any] = {"lr": chance.choice([0.1, 0.01, 0.001]), "batch": 2 ** chance.randint(3, 9)}
    return bulk_rows.run_row(place, number, config, {"acc": chance.random(), "loss": chance.random()})


def _models(
    database: Database, chance: random.Random, place: Owners, sources: Sequence[str], count: int
) -> None:
    models = [
        bulk_rows.collection_row(place[1], number, "model", f"model {number}") for number in range(count)
    ]
    for model in models:
        model["tags"] = [tag for tag, share in TAGS.items() if chance.random() < share]
    links = [
        bulk_rows.link_row(model, place, number, version_id)
        for number, model in enumerate(models)
        for version_id in chance.sample(sources, min(LINKS_A_MODEL, len(sources)))
    ]
    bulk_rows.store(database, Collection, models)
    bulk_rows.store(database, Link, links)
    bulk_rows.store_index(
        database,
        [row for model in models for row in bulk_rows.indexed(model, place, {"tags": "collection.tags"})],
    )
