"""The names of W&B's public SDK, and what modelyard has in their place: `wandb_names.txt`."""

from __future__ import annotations

import functools
from typing import NamedTuple

SECTIONS = ("module", "Run", "Artifact", "Api", "public run", "Settings")
SAME, DIFFERS, ABSENT = "same", "differs", "absent"


class Name(NamedTuple):
    """A name of W&B's SDK; `note` says how it differs, or what to use instead of it."""

    section: str
    name: str
    state: str
    note: str = ""


@functools.cache
def read() -> tuple[Name, ...]:
    """Every name, in the order of the file."""
    import importlib.resources  # imported when first needed: `import modelyard` stays fast

    file = importlib.resources.files("modelyard").joinpath("wandb_names.txt")
    lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(Name(*line.split("\t")) for line in lines if line and not line.startswith("#"))


def is_known(section: str, name: str) -> bool:
    """Whether W&B has a name."""
    return any((known.section, known.name) == (section, name) for known in read())


def note(section: str, name: str) -> str:
    """What to use instead of a name, or how it differs; empty where nothing is said."""
    found = (known.note for known in read() if (known.section, known.name) == (section, name))
    return next(found, "")


def missing(section: str, owner: str, name: str) -> AttributeError:
    """The error for a member that `owner` does not have: it says what to use instead, where that is known."""
    instead = "" if name.startswith("_") else note(section, name)
    sentence = f"{owner} has no {name}: {instead}" if instead else f"{owner} has no attribute {name!r}"
    return AttributeError(sentence, name=name)
