"""A change between 1, 1.0 and True is stored, although Python compares them as equal."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlalchemy.orm import Session

from modelyard.contract.values import identical
from modelyard_server.db.tables import ArtifactVersion, Run
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import resolve, versions
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.run_maps import Change
from modelyard_server.domain.runs.runs import RunChanges, RunSpec
from tests.inprocess.registry import ENTITY, Registry

KINDS: list[Any] = [1, True, 1.0, 1, 1.0, True, 1]


def _read(registry: Registry, table: Any, id_: str, column: str) -> str:
    """A column as the database has it; text, since `==` does not tell the kinds apart."""
    return repr(registry.database.read(lambda session: getattr(session.get_one(table, id_), column)))


def test_metadata_changes_its_kind(registry: Registry) -> None:
    version = registry.log("bert", "a", metadata={"deep": [{"n": 1}]})

    def change(session: Session, principal: Principal, given: dict[str, Any]) -> None:
        row = resolve.version(session, principal, id_=version.id).version
        versions.update(session, principal, row, metadata=given)

    for kind in KINDS:
        given = {"deep": [{"n": kind}]}
        registry.write(change, given)
        assert _read(registry, ArtifactVersion, version.id, "metadata_") == repr(given)
    assert len(registry.events("p", "version_updated")) == len(KINDS) - 1


def test_metadata_of_content_that_is_logged_again_changes_its_kind(registry: Registry) -> None:
    version = registry.log("bert", "a", metadata={"n": 1})
    for kind in KINDS:
        again = registry.log("bert", "a", metadata={"n": kind})
        assert again.id == version.id
        assert _read(registry, ArtifactVersion, version.id, "metadata_") == repr({"n": kind})
    assert len(registry.events("p", "version_updated")) == len(KINDS) - 1


@pytest.mark.parametrize("column", ["config", "summary"])
def test_config_and_summary_change_their_kind(registry: Registry, column: str) -> None:
    def make(session: Session, principal: Principal) -> Run:
        spec = RunSpec(ENTITY, "p", maps={column: {"n": 1}})
        return runs.create(session, principal, spec, "never")[0].run

    run = registry.write(make)
    for kind in KINDS:
        registry.write(runs.update, run.id, RunChanges(maps={column: Change({"n": kind})}))
        view = registry.read(runs.find, run.id)
        (found,) = registry.read(lambda session, _: runs.with_maps(session, [view]))  # noqa: B023 - called at once
        assert repr(found.maps[column]) == repr({"n": kind})


def test_values_are_identical_in_kind_at_every_level() -> None:
    for same in (1, 1.0, True, None, "x", math.nan, [1, {"a": (2.0,)}], {}):
        assert identical(same, same)
    assert identical([1, math.nan], (1, float("nan")))
    for one, other in ((1, True), (1, 1.0), (0, False), (0.0, -0.0), ([1], [True]), ({"a": 1}, {"a": 1.0})):
        assert not identical(one, other)
    for one, other in (([1], [1, 2]), ({"a": 1}, {"b": 1}), ({}, []), ("", None), ({"a": None}, {})):
        assert not identical(one, other)
