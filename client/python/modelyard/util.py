"""Small functions that scripts take from `wandb.util`."""

from __future__ import annotations

import importlib
import random
import string
from types import ModuleType

from modelyard.contract import refs

_ID_LETTERS = string.ascii_lowercase + string.digits


def generate_id(length: int = 8) -> str:
    """A random id for a run: letters `a` to `z` and digits.

    It does not use the seed that training code sets: its runs would all get the same id.
    """
    return "".join(random.SystemRandom().choices(_ID_LETTERS, k=length))


def make_artifact_name_safe(name: str) -> str:
    """Makes a text the name of an artifact: each character that is not allowed becomes `-`."""
    return refs.artifact_name(name)


def get_module(name: str, required: str | bool | None = None, lazy: bool = True) -> ModuleType | None:
    """The module of that name; None where it is not installed.

    With `required`, ImportError, which has that text if it is one. `lazy` is accepted.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if required:
            text = required if isinstance(required, str) else f"{name} is not installed"
            raise ImportError(text) from error
        return None
