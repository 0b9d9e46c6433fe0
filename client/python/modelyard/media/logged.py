"""Media in what is logged: found, put into files, and replaced by the maps that stand for them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from modelyard.media import figures, libraries
from modelyard.media.charts.chart import CustomChart
from modelyard.media.content import Place
from modelyard.media.images import pixels
from modelyard.media.images.image import Image
from modelyard.media.media import Media
from modelyard.media.tables.table import Table

_LEVELS = 20
_known: dict[type, bool] = {}
"""Whether values of a class may hold media."""
_PACKAGES = frozenset({"bokeh", "matplotlib", "plotly", "pandas", "PIL"})

Problem = Callable[[str, str], None]
"""Takes the key of a value that could not be stored, and why."""


def replaced(data: Mapping[str, Any], place: Callable[[str], Place], problem: Problem) -> Mapping[str, Any]:
    """Logged data with maps instead of media; `data` itself where there are none.

    `place` returns where the files of a key go. A value that cannot be stored is left out and
    passed to `problem`: a full disk must not end a training.
    """
    return _Replacing(place, problem).entries(data, "")


class _Replacing:
    """The traversal of one row."""

    def __init__(self, place: Callable[[str], Place], problem: Problem) -> None:
        self._place = place
        self._problem = problem
        self._open: set[int] = set()

    def entries(self, data: Mapping[str, Any], above: str) -> Mapping[str, Any]:
        """The entries of a map, whose keys are joined to those `above`."""
        found: dict[str, Any] | None = None
        for key, value in data.items():
            if not _may_hold_media(type(value)):
                continue
            name = f"{above}.{key}" if above else key
            stored = self._value(name, value)
            if stored is value:
                continue
            found = dict(data) if found is None else found
            if stored is None:
                del found[key]
            else:
                found[key] = stored
                if isinstance(value, CustomChart):
                    found[value.table_key(key)] = stored["table"]
        return data if found is None else found

    def _value(self, name: str, value: Any) -> Any:
        """What a value is stored as: itself, a map, or None where it cannot be stored."""
        if isinstance(value, Mapping):
            return self._map(name, value)
        try:
            if isinstance(value, list | tuple):
                return self._items(name, value)
            media = as_media(value)
            return value if media is None else media.store(self._place(name))
        except Exception as error:  # whatever the reason, training goes on
            self._problem(name, f"{type(error).__name__}: {error}")
            return None

    def _map(self, name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
        """A map within the row; one that contains itself, is very deep or fails when read stays as it is."""
        if id(value) in self._open or len(self._open) >= _LEVELS:
            return value
        self._open.add(id(value))
        try:
            return self.entries(value, name)
        except Exception:  # it is dropped, with a warning, where the row is made
            return value
        finally:
            self._open.discard(id(value))

    def _items(self, name: str, values: list[Any] | tuple[Any, ...]) -> Any:
        """A list with media: one map if all are of a class, else a list; itself where there are none.

        So is one that contains itself, or is very deep: it is dropped where the row is made.
        """
        is_endless = id(values) in self._open or len(self._open) >= _LEVELS
        if is_endless or not any(map(_may_hold_media, set(map(type, values)))):
            return values
        self._open.add(id(values))
        try:
            return self._stored_items(name, values)
        finally:
            self._open.discard(id(values))

    def _stored_items(self, name: str, values: list[Any] | tuple[Any, ...]) -> Any:
        """What the items of a list are stored as, together. Errors of any kind."""
        media = [one for one in map(as_media, values) if one is not None]
        if media and len(media) == len(values) and all(type(one) is type(media[0]) for one in media):
            return type(media[0]).store_list(media, self._place(name))
        found = [self._item(name, one) for one in values]
        return values if all(map(operator.is_, found, values)) else found

    def _item(self, name: str, value: Any) -> Any:
        """What an item of a list is stored as. Errors of any kind."""
        if isinstance(value, Mapping):
            return self._map(name, value)
        if isinstance(value, list | tuple):
            return self._items(name, value)
        media = as_media(value)
        return value if media is None else media.store(self._place(name))


def as_media(value: Any) -> Media | None:
    """A value as media: media themselves, figures, DataFrames, pictures of Pillow. None for others."""
    if isinstance(value, Media):
        return value
    if not _may_be_media(type(value)):
        return None
    if isinstance(value, ModuleType):
        return _current_figure(value)
    if libraries.is_from(value, "PIL", "Image"):
        return Image(value)
    if figures.is_plotly(value) or pixels.is_figure(value):
        return figures.as_media(value)
    if figures.is_bokeh(value):
        return figures.Bokeh(value)
    if libraries.is_from(value, "pandas", "DataFrame"):
        return Table(dataframe=value)
    return None


def _current_figure(module: ModuleType) -> Media | None:
    """The present figure of `matplotlib.pyplot`, which scripts log as a module."""
    if module.__name__ != "matplotlib.pyplot":
        return None
    return as_media(module.gcf())


def _may_hold_media(cls: type) -> bool:
    """Whether values of a class may be media, or lists or maps of them. It is asked in each step."""
    known = _known.get(cls)
    if known is None:
        known = _known[cls] = issubclass(cls, Mapping | list | tuple) or _may_be_media(cls)
    return known


def _may_be_media(cls: type) -> bool:
    if issubclass(cls, Media | ModuleType):
        return True
    return any(libraries.package_of(base) in _PACKAGES for base in cls.__mro__)
