"""`Summary`: the last value of each metric of a run, or what `define_metric` or users set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from modelyard.contract.errors import Error, UsageError
from modelyard.contract.values import METRIC_GOALS, SUMMARY_KINDS
from modelyard.conversion.plain_values import fit_entry


@dataclass(frozen=True)
class Definition:
    """The arguments of `define_metric` for a metric, or for all with a prefix."""

    name: str
    """`name`, or `prefix*`."""
    step_metric: str | None
    step_sync: bool | None
    """Default (None): whether there is a step metric."""
    kinds: tuple[str, ...]
    goal: str | None
    """`minimize` (default) or `maximize`: which result is the best."""
    hidden: bool | None = None

    def covers(self, key: str) -> bool:
        """Whether it applies to this metric."""
        return key.startswith(self.name[:-1]) if self.name.endswith("*") else key == self.name

    @property
    def carried(self) -> str | None:
        """The metric whose last value is added to rows that lack it."""
        synced = self.step_sync is not False and self.step_metric is not None
        return self.step_metric if synced else None

    def after(self, earlier: Definition) -> Definition:
        """This definition; what it does not say is as in an earlier one of the same name."""
        return Definition(
            self.name,
            self.step_metric or earlier.step_metric,
            earlier.step_sync if self.step_sync is None else self.step_sync,
            self.kinds or earlier.kinds,
            self.goal or earlier.goal,
            earlier.hidden if self.hidden is None else self.hidden,
        )


def goal_of(goal: str | None) -> str | None:
    """`minimize` or `maximize`; Error for another goal."""
    for known in METRIC_GOALS:
        if goal in {known, known[:3]}:
            return known
    if goal:
        raise Error(f"define_metric: goal is 'minimize' or 'maximize', not {goal!r}")
    return None


def kinds_of(summary: str | None) -> tuple[str, ...]:
    """The parts of `summary="min,max"`. Error when one is not known."""
    kinds = tuple(part.strip() for part in (summary or "").split(",") if part.strip())
    unknown = sorted(set(kinds) - set(SUMMARY_KINDS))
    if unknown:
        raise Error(
            f"define_metric: unknown summary {unknown[0]!r}; known are {', '.join(sorted(SUMMARY_KINDS))}"
        )
    if "none" in kinds and len(kinds) > 1:
        raise Error("define_metric: summary 'none' goes with no other")
    return kinds


class Summary(MutableMapping[str, Any]):
    """Items and attributes: `summary["acc"]`, `summary.acc`, `summary["val"]["min"]`. Users may set any.

    What users set stays until the metric of that name is logged again. An entry
    that cannot be stored stays in this process, with a warning. UsageError for changes
    once the run is finished.

    `changed` has the top-level keys that were not sent yet.
    """

    _items: dict[str, Any]
    changed: dict[str, None]
    _results: dict[str, _Results]
    _closed: str
    _set_by_user: Callable[[str], None]
    _without_media: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        # Not by our own __setattr__, which sets entries.
        object.__setattr__(self, "_items", dict(items or {}))
        object.__setattr__(self, "changed", {})
        object.__setattr__(self, "_results", {})
        object.__setattr__(self, "_closed", "")
        object.__setattr__(self, "_set_by_user", lambda key: None)
        object.__setattr__(self, "_without_media", lambda entries: entries)

    def close(self, run: str) -> None:
        """Raises UsageError for every change from now on: the run of this name is finished."""
        object.__setattr__(self, "_closed", run)

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Calls `changed` with each key that the program sets or removes, but not with those of rows."""
        object.__setattr__(self, "_set_by_user", changed)

    def keep_media_with(self, replace: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Has media that the program sets put into files: `replace` returns maps in their place."""
        object.__setattr__(self, "_without_media", replace)

    def __getitem__(self, key: str) -> Any:
        return self._shown(self._items[key], key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_open()
        for name, entry in self._without_media({str(key): value}).items():
            self._items[name], fits = fit_entry("summary", name, entry)
            if fits:
                self.changed[name] = None
                self._set_by_user(name)

    def __delitem__(self, key: str) -> None:
        self._check_open()
        del self._items[key]
        self.changed[key] = None
        self._set_by_user(key)

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
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no key {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Sets entries."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"run {self._closed} is finished: its summary cannot be changed")

    def _shown(self, value: Any, key: str) -> Any:
        """A value for users: a change of a map in the summary changes the summary."""
        if type(value) is not dict:
            return value

        def changed(whole: dict[str, Any]) -> None:
            self[key] = whole

        return Part(value, changed)

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
            goal = definition.goal if definition else None
            results = self._results.get(key)
            if results is None:
                results = self._results[key] = _Results(_nested(self._items, path))
            result = results.after(value, kinds, goal)
        _set_nested(self._items, path, result)
        self.changed[path[0]] = None

    def last_of(self, key: str) -> Any:
        """The last value of a metric; None where the summary has only results such as its minimum."""
        value = self._items.get(key, _nested(self._items, tuple(key.split("."))))
        return value.get("last") if isinstance(value, dict) else value

    def results(self) -> dict[str, Any]:
        """Minima and the like so far, of the metrics that have definitions."""
        return {key: dict(vars(results)) for key, results in self._results.items()}

    def go_on_from(self, results: Mapping[str, Any]) -> None:
        """Goes on from what `results` returned."""
        for key, kept in results.items():
            self._results[key] = _Results(None)
            vars(self._results[key]).update(kept)

    def take_changed(self) -> tuple[dict[str, Any], list[str]]:
        """Entries that changed since the last time, and keys that were removed."""
        keys: list[str] = []
        while self.changed:  # one at a time: users may set entries at the same time
            keys.append(self.changed.popitem()[0])
        present = {key: self._items[key] for key in keys if key in self._items}
        return present, [key for key in keys if key not in present]


class _Results:
    """Minimum, maximum, mean and the like of one metric.

    Those of a resumed run go on from `earlier`, its results before; its mean is that
    of the rows since, as the number of earlier ones is not known.
    """

    def __init__(self, earlier: Any) -> None:
        had = earlier if isinstance(earlier, dict) else {}
        numbers = [had[kind] for kind in ("min", "max", "best") if _is_number(had.get(kind))]
        self._first: Any = had.get("first")
        self._count = 0
        self._sum = 0.0
        self._min = min(numbers, default=math.inf)
        self._max = max(numbers, default=-math.inf)
        self._known = bool(numbers)

    def after(self, value: Any, kinds: tuple[str, ...], goal: str | None) -> Any:
        if self._first is None:
            self._first = value
        if _is_number(value):
            self._known = True
            self._count += 1
            self._sum += value
            self._min = min(self._min, value)
            self._max = max(self._max, value)
        best = self._max if goal == "maximize" else self._min
        every = {
            "first": self._first,
            "last": value,
            "copy": value,
            "min": self._min if self._known else value,
            "max": self._max if self._known else value,
            "mean": self._sum / self._count if self._count else value,
            "best": best if self._known else value,
        }
        return {kind: every[kind] for kind in kinds}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)


class Part(dict[str, Any]):
    """A map in the summary, as users see it: items and attributes; changes go to the summary."""

    def __init__(self, items: Mapping[str, Any], changed: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(items)
        object.__setattr__(self, "_tell", changed)

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if type(value) is not dict:
            return value

        def changed(whole: dict[str, Any]) -> None:
            self[key] = whole

        return Part(value, changed)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(str(key), value)
        self._tell(dict(self))

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._tell(dict(self))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no key {name!r} here") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[Any, ...]]:
        return dict, (dict(self),)

    # Those of `dict` would not call the methods above.
    get = MutableMapping.get  # type: ignore[assignment]  # it returns parts that tell of changes, too
    pop = MutableMapping.pop
    popitem = MutableMapping.popitem
    clear = MutableMapping.clear
    update = MutableMapping.update
    setdefault = MutableMapping.setdefault


def _set_nested(items: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        # A copy, not a change in place: the old map may be in a request that is being sent.
        inner = items.get(part)
        items[part] = dict(inner) if isinstance(inner, dict) else {}
        items = items[part]
    items[path[-1]] = value


def _nested(items: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a nested path; None without one."""
    found: Any = items
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found
