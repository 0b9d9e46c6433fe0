"""`Summary`: the last value of each metric of a run, or what `define_metric` or users set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from modelyard.contract.errors import Error
from modelyard.rpc.plain_values import fit_entry

_KINDS = frozenset({"min", "max", "mean", "best", "first", "last", "copy", "none"})


@dataclass(frozen=True)
class Definition:
    """The arguments of `define_metric` for a metric, or for all with a prefix."""

    name: str
    """`name`, or `prefix*`."""
    step_metric: str | None
    step_sync: bool
    kinds: tuple[str, ...]
    goal: str

    def covers(self, key: str) -> bool:
        """Whether it applies to this metric."""
        return key.startswith(self.name[:-1]) if self.name.endswith("*") else key == self.name


def kinds_of(summary: str | None) -> tuple[str, ...]:
    """The parts of `summary="min,max"`. Error when one is not known."""
    kinds = tuple(part.strip() for part in (summary or "").split(",") if part.strip())
    unknown = sorted(set(kinds) - _KINDS)
    if unknown:
        raise Error(f"define_metric: unknown summary {unknown[0]!r}; known are {', '.join(sorted(_KINDS))}")
    if "none" in kinds and len(kinds) > 1:
        raise Error("define_metric: summary 'none' goes with no other")
    return kinds


class Summary(MutableMapping[str, Any]):
    """Items and attributes: `summary["acc"]`, `summary.acc`. Users may set any of them.

    An entry that cannot be stored stays in this process, with a warning.

    `changed` has the top-level keys that were not sent yet.
    """

    _items: dict[str, Any]
    changed: dict[str, None]
    _results: dict[str, _Results]

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        # Not by our own __setattr__, which sets entries.
        object.__setattr__(self, "_items", dict(items or {}))
        object.__setattr__(self, "changed", {})
        object.__setattr__(self, "_results", {})

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._items[str(key)], fits = fit_entry("summary", str(key), value)
        if fits:
            self.changed[str(key)] = None

    def __delitem__(self, key: str) -> None:
        del self._items[key]
        self.changed[key] = None

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[type[Summary], tuple[Any, ...]]:
        # A copy or a pickle has the values only; changes of it are not sent.
        return Summary, (dict(self._items),)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._items[name]
        except KeyError:
            raise AttributeError(f"the summary has no key {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Sets entries."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def observe(self, row: Mapping[str, Any]) -> None:
        """Sets the values of a row, which can be stored, as the last ones."""
        self._items.update(row)
        self.changed.update(dict.fromkeys(row))

    def observe_defined(
        self, key: str, path: tuple[str, ...], value: Any, definition: Definition | None
    ) -> None:
        """Sets one value at its nested path, as its definition says."""
        kinds = definition.kinds if definition else ()
        if "none" in kinds:
            return
        result = value
        if kinds and kinds != ("copy",):
            results = self._results.setdefault(key, _Results(definition.goal if definition else "minimize"))
            result = results.after(value, kinds)
        _set_nested(self._items, path, result)
        self.changed[path[0]] = None

    def take_changed(self) -> tuple[dict[str, Any], list[str]]:
        """Entries that changed since the last time, and keys that were removed."""
        keys: list[str] = []
        while self.changed:  # one at a time: users may set entries at the same time
            keys.append(self.changed.popitem()[0])
        present = {key: self._items[key] for key in keys if key in self._items}
        return present, [key for key in keys if key not in present]


class _Results:
    """Minimum, maximum, mean and the like of one metric."""

    def __init__(self, goal: str) -> None:
        self._goal = goal
        self._first: Any = None
        self._count = 0
        self._sum = 0.0
        self._min = math.inf
        self._max = -math.inf

    def after(self, value: Any, kinds: tuple[str, ...]) -> Any:
        if self._first is None:
            self._first = value
        if isinstance(value, int | float) and not math.isnan(value):
            self._count += 1
            self._sum += value
            self._min = min(self._min, value)
            self._max = max(self._max, value)
        best = self._max if self._goal.startswith("max") else self._min
        every = {
            "first": self._first,
            "last": value,
            "copy": value,
            "min": self._min if self._count else value,
            "max": self._max if self._count else value,
            "mean": self._sum / self._count if self._count else value,
            "best": best if self._count else value,
        }
        return {kind: every[kind] for kind in kinds}


def _set_nested(items: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        # A copy, not a change in place: the old map may be in a request that is being sent.
        inner = items.get(part)
        items[part] = dict(inner) if isinstance(inner, dict) else {}
        items = items[part]
    items[path[-1]] = value
