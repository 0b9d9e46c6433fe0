"""Values in the maps of runs, as fields of filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, select

from modelyard_server.db.tables import Run, RunMap
from modelyard_server.domain.search.filter_fields import Comparison, Json
from modelyard_server.domain.search.filter_json import json_node


@dataclass(frozen=True)
class MapOfRun:
    """A value in the config or the summary of the latest attempt of a run; see `Json`."""

    part: str
    operators: ClassVar[frozenset[str]] = Json.operators
    has_keys: ClassVar[bool] = Json.has_keys

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        """The condition of the newest piece that has the key."""
        held = json_node(comparison.dialect, RunMap.entries, comparison.path[:1]).exists()
        own = (RunMap.run_id == Run.id, RunMap.attempt == Run.attempt, RunMap.part == self.part)
        newest = select(RunMap.entries).where(*own, held).order_by(RunMap.piece.desc()).limit(1)
        entries: Any = newest.correlate(Run).scalar_subquery()
        return Json(entries).condition(comparison)
