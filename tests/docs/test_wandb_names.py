"""Every name of W&B's public SDK is in docs/coming-from-wandb.md, as the package has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import wandb_names
from modelyard.wandb_names import ABSENT, DIFFERS, SAME, Name
from tests.docs.wandb_table import PAGE, with_tables

NAMES = wandb_names.read()


@pytest.fixture
def owners(embedded: Path) -> Iterator[dict[str, Any]]:
    """An object that has the names of each section, but settings."""
    with modelyard.init(project="names") as run:
        api = modelyard.Api()
        yield {
            "module": modelyard,
            "Run": run,
            "Artifact": modelyard.Artifact("a", "t"),
            "Api": api,
            "public run": api.run(run.path),
        }


def test_the_file_names_each_once_with_a_state_and_says_what_to_use_instead() -> None:
    assert len({(one.section, one.name) for one in NAMES}) == len(NAMES)
    assert {one.section for one in NAMES} == set(wandb_names.SECTIONS)
    assert {one.state for one in NAMES} == {SAME, DIFFERS, ABSENT}
    for one in NAMES:
        assert bool(one.note) == (one.state != SAME) or one.section == "Settings", one


def _has(owner: Any, name: str) -> bool:
    if owner is not modelyard:
        return name in dir(owner)  # not `hasattr`: properties of a draft raise
    try:
        return hasattr(modelyard, name)
    except ImportError:  # an integration whose library is not installed
        return True


def test_names_that_are_there_exist_and_absent_ones_do_not(owners: dict[str, Any]) -> None:
    wrong = []
    for one in NAMES:
        if one.section == "Settings":
            continue
        is_there = _has(owners[one.section], one.name)
        raises = one.note.startswith("raises UsageError")
        if is_there != (one.state != ABSENT or raises):
            wrong.append(one)
    assert wrong == []


def test_an_absent_name_says_what_to_use_instead(owners: dict[str, Any]) -> None:
    for one in NAMES:
        owner = owners.get(one.section)
        if one.state != ABSENT or owner is None:
            continue
        if one.note.startswith("raises UsageError: "):
            with pytest.raises(modelyard.UsageError):
                getattr(owner, one.name)()
        elif one.section in {"module", "Api", "public run"}:
            with pytest.raises(AttributeError) as caught:
                getattr(owner, one.name)
            assert one.note in str(caught.value)


@pytest.mark.parametrize("one", [one for one in NAMES if one.section == "Settings"], ids=lambda one: one.name)
def test_a_setting_has_an_effect_or_is_listed_as_ignored(one: Name) -> None:
    settings = modelyard.Settings(**{one.name: None})
    assert (one.name in settings.ignored) == (one.state == ABSENT)


def test_the_page_has_every_name_in_its_state() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "python -m tests.docs.wandb_table writes the tables"
