"""The client is built as ARCHITECTURE.md says: its data path, and where functions import."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "client/python/modelyard"
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
STOPS_LIMIT = 8
GENERATED = {"v1", "local"}


def _stops() -> list[Callable[..., Any]]:
    """The functions of the table "From `Run.log_model` to the wire", in order."""
    section = DOCUMENT.split("### From `Run.log_model` to the wire")[1].split("\n**")[0]
    rows = re.findall(r"^\| \d+ \| `([\w.]+)` \| `([\w/]+)\.py` \|", section, flags=re.MULTILINE)
    found = []
    for name, path in rows:
        member: Any = importlib.import_module(f"modelyard.{path.replace('/', '.')}")
        for part in name.split("."):
            member = getattr(member, part)
        found.append(inspect.unwrap(member))
    return found


def test_each_step_from_log_model_to_the_wire_calls_the_next() -> None:
    stops = _stops()
    assert 2 <= len(stops) <= STOPS_LIMIT
    assert stops[0].__qualname__ == "Run.log_model"
    for stop, following in itertools.pairwise(stops):
        assert re.search(rf"\.{following.__name__}\b", inspect.getsource(stop)), (
            f"{stop.__qualname__} does not call {following.__qualname__}"
        )
    assert "upload_chunks_call(self._connection)(" in inspect.getsource(stops[-1])


def test_imports_inside_functions_are_in_the_places_that_are_named() -> None:
    paragraph = next(line for line in DOCUMENT.splitlines() if "`import modelyard` is light" in line)
    named = set(re.findall(r"`([\w/]+\.py)`", paragraph)) - {"cli/commands.py"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.parts[0] in GENERATED:
            continue
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            imports = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
            if any((node.module or "").split(".")[0] == "modelyard" for node in imports):
                found.add(relative.as_posix())
    assert found <= named
