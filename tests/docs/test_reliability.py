"""The commands in docs/reliability.md run tests, and its safeguards are those of the model."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.faults.pack_model import Rules

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
COMMANDS = re.findall(r"^\| [^|`]*(?:`kill -9`)?[^|`]*\| `((?:\w+/)+test_[^`]*)` \|", PAGE, re.MULTILINE)


def names_in(file: str) -> list[str]:
    """The names of the tests of a module, as `-k` sees them."""
    tree = ast.parse((ROOT / "tests" / file).read_text())
    found = [each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
    return [f"{Path(file).name}::{name}" for name in found if name.startswith("test_")]


def test_the_table_has_a_command_in_each_row() -> None:
    table = PAGE.partition("| fault |")[2]
    assert len(COMMANDS) == table.count("\n|") - 1 > 25


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs_tests_of_each_module_it_names(command: str) -> None:
    files, _, selection = command.partition(" -k ")
    words = [word.strip() for word in selection.strip('"').split(" or ")]
    names = [name for file in files.split() for name in names_in(file)]
    for word in words:
        assert any(word in name for name in names), word


def test_the_safeguards_are_those_of_the_model() -> None:
    table = PAGE.partition("| without |")[2].partition("\n\n")[0]
    rows = table.split("\n")[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert named == [field.name for field in fields(Rules)]
