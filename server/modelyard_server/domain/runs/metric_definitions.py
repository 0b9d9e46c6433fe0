"""What programs say about their metrics: checked, and kept in the row of an attempt."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.contract import errors, values
from modelyard_server.db.tables import Run, RunAttempt

FIELD = "metric_definitions"
MOST = 1_000
MOST_BYTES = 64 << 10
"""Of the stored JSON: each batch of metrics updates the row that holds it."""
_BUILT_IN = ("_step", "_timestamp", "_runtime")

Definitions = Mapping[str, Mapping[str, Any]]
"""By name, or by `prefix*`: `step_metric`, `step_sync`, `summary`, `goal`, `hidden`, each if it is set."""


@dataclass(frozen=True)
class DefinitionChange:
    """Definitions to set, and names to remove; `whole`: all others are removed."""

    entries: Definitions
    removed: Collection[str] = ()
    whole: bool = False


def change(row: Run | RunAttempt, given: DefinitionChange) -> None:
    """Changes the definitions of an attempt. Raises InvalidField."""
    for name, definition in given.entries.items():
        _check(f"run.{FIELD}[{name[:100]}]", name, definition)
    before = {} if given.whole else dict(row.metric_definitions)
    after = {name: entry for name, entry in before.items() if name not in given.removed}
    after |= {name: dict(entry) for name, entry in given.entries.items()}
    if len(after) > MOST:
        raise errors.InvalidField.of(f"run.{FIELD}", f"has {len(after)} entries; at most {MOST}")
    if len(json.dumps(after)) > MOST_BYTES:
        raise errors.InvalidField.of(f"run.{FIELD}", f"is longer than {MOST_BYTES} bytes of JSON")
    row.metric_definitions = after


def _check(field: str, name: str, definition: Mapping[str, Any]) -> None:
    if name != "*":
        _check_name(field, name.removesuffix("*"))
    step_metric = definition.get("step_metric", "")
    if step_metric and step_metric not in _BUILT_IN:
        _check_name(f"{field}.step_metric", step_metric)
    kinds = definition.get("summary", ())
    if len(set(kinds)) < len(kinds):
        raise errors.InvalidField.of(f"{field}.summary", "names a kind twice")
    if "none" in kinds and len(kinds) > 1:
        raise errors.InvalidField.of(f"{field}.summary", "has NONE together with others")


def _check_name(field: str, name: str) -> None:
    problem = values.check_metric_name(name)
    if problem:
        raise errors.InvalidField.of(field, problem)
