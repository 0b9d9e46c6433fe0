"""Kinds of cells: what a column of a table holds, so that a cell of another kind is refused."""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelyard.conversion.arrays import shape_of
from modelyard.media.media import Media


@dataclass(frozen=True)
class Kind:
    """A kind of values, by the name that files have for it (`wb_type`).

    `fields` are the kinds of a dict's entries by key, or of a list's elements under the key
    of an empty text. A `union` has its members there, by name.
    """

    name: str
    fields: Mapping[str, Kind] = field(default_factory=dict)
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.name == "union":
            return " or ".join(map(str, self.fields.values()))
        if self.name == "list":
            return f"list of {self.fields['']}" if self.fields else "empty list"
        if self.name == "typedDict":
            return f"dict of {', '.join(f'{key}: {kind}' for key, kind in self.fields.items()) or 'nothing'}"
        return f"array of shape {self.shape}" if self.name == "ndarray" else self.name


NONE, NUMBER, STRING, BOOLEAN = Kind("none"), Kind("number"), Kind("string"), Kind("boolean")
UNKNOWN, ANY = Kind("unknown"), Kind("any")
_SCALARS: dict[type, Kind] = {
    type(None): NONE, bool: BOOLEAN, int: NUMBER, float: NUMBER, complex: ANY, str: STRING,
    datetime.datetime: Kind("timestamp"), datetime.date: Kind("timestamp"), bytes: STRING,
}  # fmt: skip
_NAMED = {
    int: NUMBER, float: NUMBER, str: STRING, bool: BOOLEAN, None: NONE, object: ANY, list: Kind("list"),
    dict: Kind("typedDict"), "number": NUMBER, "string": STRING, "boolean": BOOLEAN, "any": ANY,
}  # fmt: skip


def named(given: Any) -> Kind:
    """The kind that `dtype` names: int, float, str, bool, a class of media, or a kind. Else TypeError."""
    if isinstance(given, Kind):
        return given
    if isinstance(given, type) and issubclass(given, Media):
        return Kind(given.type_name)
    try:
        return _NAMED[given]
    except (KeyError, TypeError):
        raise TypeError(f"Table: dtype is int, float, str, bool or a class of media, not {given!r}") from None


def is_of_class(cls: type) -> bool:
    """Whether all values of a class are of one kind."""
    return cls in _SCALARS or issubclass(cls, Media | numbers.Number | str)


def of(value: Any) -> Kind:
    """The kind of a value."""
    known = _SCALARS.get(type(value))
    if known is not None:
        return known
    if isinstance(value, Media):
        return Kind(value.type_name)
    if isinstance(value, Mapping):
        return Kind("typedDict", {str(key): of(item) for key, item in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return _of_list(value)
    return _foreign(value)


def _of_list(items: Any) -> Kind:
    element: Kind | None = None
    for kind in {type(item): of(item) for item in items if type(item) in _SCALARS}.values():
        element = kind if element is None else either(element, kind)
    for item in items:
        if type(item) not in _SCALARS:
            kind = of(item)
            element = kind if element is None else holds(element, kind) or either(element, kind)
    return Kind("list") if element is None else Kind("list", {"": element})


def _foreign(value: Any) -> Kind:
    if isinstance(value, str):
        return STRING
    if isinstance(value, numbers.Number):
        return NUMBER
    shape = shape_of(value)
    if shape is None:
        return STRING  # it is stored as its text
    if shape == () or math.prod(shape) == 1:
        item = value.item() if callable(getattr(value, "item", None)) else value
        return _SCALARS.get(type(item), STRING)
    return Kind("ndarray", shape=shape)


def either(one: Kind, other: Kind) -> Kind:
    """The union of two kinds."""
    members = dict(one.fields) if one.name == "union" else {str(one): one}
    for kind in other.fields.values() if other.name == "union" else (other,):
        members[str(kind)] = kind
    return Kind("union", members) if len(members) > 1 else next(iter(members.values()))


def holds(column: Kind, kind: Kind) -> Kind | None:
    """The kind of a column after a cell of a kind; None where the column does not take it."""
    if column in (ANY, kind):
        return column
    if column == UNKNOWN:
        return kind
    if kind.name == "union":
        found: Kind | None = column
        for member in kind.fields.values():
            found = found and holds(found, member)
        return found
    if column.name == "union":
        return _union_holds(column, kind)
    return _nested_holds(column, kind) if column.name == kind.name else None


def _union_holds(column: Kind, kind: Kind) -> Kind | None:
    for name, member in column.fields.items():
        wider = holds(member, kind)
        if wider is not None:
            if wider is member:
                return column
            return Kind("union", {str(wider) if key == name else key: wider if key == name else one
                                  for key, one in column.fields.items()})  # fmt: skip
    return None


def _nested_holds(column: Kind, kind: Kind) -> Kind | None:
    """Lists with elements of a kind, dicts with the same keys."""
    if column.name == "ndarray":
        return None  # of another shape
    if column.name == "list" and not (column.fields and kind.fields):
        return column if column.fields else kind
    if column.name == "typedDict" and not column.fields:
        return kind
    if column.fields.keys() != kind.fields.keys():
        return None
    merged = {key: holds(one, kind.fields[key]) for key, one in column.fields.items()}
    if any(one is None for one in merged.values()):
        return None
    return Kind(column.name, {key: one for key, one in merged.items() if one is not None})


def to_json(kind: Kind) -> dict[str, Any]:
    """A kind as files of tables have it."""
    found: dict[str, Any] = {"wb_type": kind.name}
    if kind.name == "union":
        found["params"] = {"allowed_types": [to_json(one) for one in kind.fields.values()]}
    elif kind.name == "list" and kind.fields:
        found["params"] = {"element_type": to_json(kind.fields[""])}
    elif kind.name == "typedDict":
        found["params"] = {"type_map": {key: to_json(one) for key, one in kind.fields.items()}}
    elif kind.name == "ndarray":
        found["params"] = {"shape": list(kind.shape)}
    return found


def from_json(stored: Mapping[str, Any]) -> Kind:
    """The kind of its JSON form."""
    name, params = str(stored["wb_type"]), stored.get("params") or {}
    if name == "union":
        members: Sequence[Kind] = [from_json(one) for one in params.get("allowed_types", ())]
        return Kind(name, {str(one): one for one in members})
    if name == "list" and "element_type" in params:
        return Kind(name, {"": from_json(params["element_type"])})
    if name == "typedDict":
        return Kind(name, {key: from_json(one) for key, one in params.get("type_map", {}).items()})
    return Kind(name, shape=tuple(params.get("shape") or ()))
