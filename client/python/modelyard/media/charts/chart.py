"""`CustomChart`: a table, and how it is to be drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.media.content import Place
from modelyard.media.media import Media, Source
from modelyard.media.tables.table import Table

_OF_WANDB = re.compile(r"wandb/([\w-]+)/v\d+")


@dataclass(frozen=True)
class CustomChartSpec:
    """How a table is drawn: the kind of chart, which columns have which role, and texts such as a title."""

    spec_name: str
    fields: Mapping[str, Any]
    string_fields: Mapping[str, Any] = field(default_factory=dict)
    split_table: bool = False


class CustomChart(Media):
    """A chart: `line`, `scatter`, `bar`, `histogram`, `lineseries` and the like, of columns of a table.

    Logged as `name`, its table is in the row as `name_table` too; with `split_table` as
    `Custom Chart Tables/name_table`.
    """

    type_name = "custom-chart"

    def __init__(self, table: Table, spec: CustomChartSpec) -> None:
        self.table = table
        self.spec = spec

    def table_key(self, key: str) -> str:
        """The key of its table in the row."""
        return f"Custom Chart Tables/{key}_table" if self.spec.split_table else f"{key}_table"

    def store(self, place: Place) -> dict[str, Any]:
        """Puts the table into a file, and returns the map that stands for the chart."""
        return {
            "_type": self.type_name,
            "spec": self.spec.spec_name,
            "fields": dict(self.spec.fields),
            "string_fields": dict(self.spec.string_fields),
            "table": self.table.store(place),
        }

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> CustomChart:
        """The chart that was stored."""
        spec = CustomChartSpec(stored["spec"], stored["fields"], stored["string_fields"])
        return cls(Table.load(stored["table"], source), spec)


def plot_table(
    vega_spec_name: str,
    data_table: Table,
    fields: Mapping[str, Any],
    string_fields: Mapping[str, Any] | None = None,
    split_table: bool = False,
) -> CustomChart:
    """A chart of a table: `fields` names the column of each role, `string_fields` has texts.

    Names such as `wandb/line/v0` are those of our own charts (`line`). A column that the table
    lacks is a warning. Errors: Error for another value than a Table.
    """
    if not isinstance(data_table, Table):
        raise errors.Error(f"plot_table: data_table is a Table, not {type(data_table).__name__}")
    missing = [name for name in fields.values() if name is not None and name not in data_table.columns]
    if missing:
        terminal.termwarn(
            f"chart: the table has no column {missing[0]!r}; it has {data_table.columns}", repeat=False
        )
    builtin = _OF_WANDB.fullmatch(vega_spec_name)
    name = builtin[1] if builtin else vega_spec_name
    spec = CustomChartSpec(name, dict(fields), dict(string_fields or {}), bool(split_table))
    return CustomChart(data_table, spec)
