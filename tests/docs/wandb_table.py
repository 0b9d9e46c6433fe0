"""Tables of W&B's names: `python -m tests.docs.wandb_table` writes them into docs/coming-from-wandb.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from modelyard import wandb_names
from modelyard.wandb_names import ABSENT, DIFFERS, SAME, Name

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-wandb.md"
BEGIN, END = "<!-- names: made from wandb_names.txt -->", "<!-- names: end -->"
_TITLES = {
    "module": "The module: `wandb.…`",
    "Run": "A run: `wandb.init()`",
    "Artifact": "`wandb.Artifact`",
    "Api": "`wandb.Api()`",
    "public run": "A run of `wandb.Api().run(…)`",
    "Settings": "`wandb.Settings(…)`",
}


def tables() -> str:
    """The tables of all sections."""
    names = wandb_names.read()
    parts = [BEGIN]
    for section in wandb_names.SECTIONS:
        parts += [
            "",
            f"### {_TITLES[section]}",
            "",
            *_section([one for one in names if one.section == section]),
        ]
    return "\n".join([*parts, "", END])


def _section(names: list[Name]) -> Iterator[str]:
    same = [one for one in names if one.state == SAME]
    yield f"Same: {_listed(same)}."
    if differing := [one for one in names if one.state == DIFFERS]:
        yield from ("", "| differs | how |", "|---|---|", *_rows(differing))
    absent = [one for one in names if one.state == ABSENT]
    if any(one.note for one in absent):
        yield from ("", "| absent | instead |", "|---|---|", *_rows([one for one in absent if one.note]))
    if silent := [one for one in absent if not one.note]:
        yield from ("", f"Accepted without effect: {_listed(silent)}.")


def _rows(names: list[Name]) -> Iterator[str]:
    """A row for each note, with all names that have it."""
    by_note: dict[str, list[Name]] = {}
    for one in names:
        by_note.setdefault(one.note, []).append(one)
    for note, group in by_note.items():
        yield f"| {_listed(group)} | {note} |"


def _listed(names: list[Name]) -> str:
    return ", ".join(f"`{one.name}`" for one in names)


def with_tables(page: str) -> str:
    """The page with the tables as the file has them."""
    before, rest = page.split(BEGIN)
    return before + tables() + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
