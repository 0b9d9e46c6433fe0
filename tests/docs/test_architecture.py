"""ARCHITECTURE.md names every module, and CONTRIBUTING.md answers with paths that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "client": ROOT / "client" / "python" / "modelyard",
    "server": ROOT / "server" / "modelyard_server",
}
GENERATED = {"v1", "local", "migrations"}
FOLDER_LIMIT = 16
"""Modules in one folder, besides `__init__`."""
FUNCTION_LIMIT = 50
"""Lines of a function, with its docstring."""
BASES = (ROOT, *PACKAGES.values(), ROOT / "server" / "modelyard_server" / "rpc")


def _tables(text: str) -> dict[str, set[str]]:
    """The modules of each table of a folder, by side and folder."""
    found: dict[str, set[str]] = {}
    side = folder = ""
    for line in text.splitlines():
        if heading := re.match(r"## The (client|server)$", line):
            side = heading[1]
        elif line.startswith("## "):
            side = ""
        elif side and (heading := re.match(r"### (?:Entry points: )?`([\w/]+?)/?`", line)):
            folder = heading[1]
            folder = "" if (ROOT / folder).is_dir() else folder
        elif side and (row := re.match(r"\| `(\w+)` \|", line)):
            found.setdefault(f"{side}:{folder}", set()).add(row[1])
    return found


def _modules() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for side, package in PACKAGES.items():
        for path in package.rglob("*.py"):
            relative = path.relative_to(package)
            if path.stem.startswith("__") or GENERATED & set(relative.parts):
                continue
            folder = "" if len(relative.parts) == 1 else relative.parent.as_posix()
            found.setdefault(f"{side}:{folder}", set()).add(path.stem)
    return found


def test_the_tables_of_architecture_name_every_module() -> None:
    assert _tables((ROOT / "ARCHITECTURE.md").read_text()) == _modules()


def test_the_ten_questions_are_answered_by_files_that_exist() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Ten questions")[1].split("\n## ")[0]
    answers = re.findall(r"\? \| `([\w./]+)`", section)
    assert len(answers) == 10
    for answer in answers:
        assert any((base / answer).is_file() for base in BASES), answer


def _files(*folders: Path) -> Iterator[Path]:
    """The modules below folders that are written by hand."""
    for folder in folders:
        yield from (path for path in folder.rglob("*.py") if not GENERATED & set(path.parts[-3:-1]))


def test_a_folder_has_few_modules() -> None:
    counts: dict[Path, int] = {}
    for path in _files(*PACKAGES.values(), ROOT / "tests"):
        counts[path.parent] = counts.get(path.parent, 0) + (path.stem != "__init__")
    assert {folder: count for folder, count in counts.items() if count > FOLDER_LIMIT} == {}


def test_a_function_has_few_lines() -> None:
    long = []
    for path in _files(*PACKAGES.values()):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LIMIT:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert long == []
