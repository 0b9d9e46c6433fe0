"""`PublicSummary`: the results of a run as `Api` finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PublicSummary(dict[str, Any]):
    """The results of a run. Changes are sent by `update()`, of the summary or of the run."""

    def __init__(self, entries: dict[str, Any], send: Callable[[], None]) -> None:
        super().__init__(entries)
        self._send = send

    def update(self, *entries: Any, overwrite: bool = True, **named: Any) -> None:
        """Sets entries and sends all changes of the run; `overwrite` False leaves those that exist."""
        given = dict(*entries, **named)
        super().update(given if overwrite else {key: given[key] for key in given if key not in self})
        self._send()

    @property
    def _json_dict(self) -> dict[str, Any]:
        """The entries, under the name that scripts for W&B use."""
        return dict(self)
