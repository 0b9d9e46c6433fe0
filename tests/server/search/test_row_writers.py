"""Rows that the search index follows are written in one module a kind: no statement can forget the index."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import modelyard_server
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.tables import Alias, ArtifactVersion, Collection, Link, Run, RunAttempt, RunMap

WRITERS = {
    ArtifactVersion: "domain/registry/versions.py",
    Link: "domain/registry/registered_models.py",
    Alias: "domain/registry/aliases.py",
    Collection: "domain/registry/collections.py",
    Run: "domain/runs/runs.py",
    RunMap: "domain/runs/run_maps.py",
    RunAttempt: "domain/runs/attempts.py",
    Attribute: "db/attributes.py",
}
TABLES: dict[str, type[Any]] = {table.__tablename__: table for table in WRITERS}
STATEMENTS = {"insert", "update", "delete", "insert_missing", "inserting_missing", "delete_some"}
SQL = re.compile(r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(\w+)")


def value_of(node: ast.expr, module: ModuleType) -> Any:
    """What a name, or an attribute of one, stands for in a module; None if it is not known before it runs."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute):
        return getattr(value_of(node.value, module), node.attr, None)
    if isinstance(node, ast.Call) and node.args:  # cast(Table, X.__table__)
        return value_of(node.args[-1], module)
    return None


def table_of(node: ast.expr, module: ModuleType) -> type[Any] | None:
    """The mapped class that an expression stands for, itself or by its table."""
    found = value_of(node, module)
    return TABLES.get(str(getattr(found, "__tablename__", None) or getattr(found, "name", "")))


def writes(source: str, module: ModuleType) -> Iterator[type[Any]]:
    """The followed tables that a module makes rows of, or has statements for that write them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (TABLES[name] for name in SQL.findall(node.value) if name in TABLES)
        if not isinstance(node, ast.Call):
            continue
        named: list[ast.expr] = []
        if isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in STATEMENTS:
                named = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
        if isinstance(value_of(node.func, module), type):
            named.append(node.func)
        yield from filter(None, (table_of(each, module) for each in named))


def sources() -> Iterator[tuple[str, str, ModuleType]]:
    """Every module of the server but the migrations: its path, text and the imported module."""
    root = Path(modelyard_server.__file__).parent
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if "migrations" in place.parts or place.name == "__main__.py":
            continue
        name = ".".join(["modelyard_server", *place.with_suffix("").parts])
        yield place.as_posix(), path.read_text(), importlib.import_module(name.removesuffix(".__init__"))


def test_each_kind_of_row_is_written_in_one_module() -> None:
    found = {(table, place) for place, text, module in sources() for table in writes(text, module)}
    assert found == set(WRITERS.items())


@pytest.mark.parametrize(
    "source",
    [
        "insert(Run).values(id=1)",
        "session.execute(update(Run).where(Run.id == 1))",
        "statement = delete(tables.Run)",
        "insert_missing(session, Run, rows)",
        "_R.insert()",
        "Run.__table__.update()",
        "cast(Table, Run.__table__).delete()",
        "session.add(Run(id=1))",
        "session.execute(text('UPDATE run SET state = 1'))",
    ],
)
def test_a_write_is_noticed_in_every_form(source: str) -> None:
    module = ModuleType("writes")
    tables = ModuleType("tables")
    vars(tables)["Run"] = Run
    vars(module).update(Run=Run, _R=Run.__table__, tables=tables)
    assert set(writes(source, module)) == {Run}


@pytest.mark.parametrize(
    "source", ["select(Run)", "session.delete(run)", "changes.update(runs)", "Run.id == 1"]
)
def test_reading_is_no_write(source: str) -> None:
    module = ModuleType("reads")
    vars(module).update(Run=Run, changes={}, runs={})
    assert not list(writes(source, module))
