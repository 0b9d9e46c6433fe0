"""Checks the types of arguments at the call, by the annotations of the function.

It knows text, paths, numbers, lists of text, dicts, None, and classes that the
module of the function imports. An annotation with any other part, and a plain
`bool`, are not checked.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C", bound=type)

_SHORT = {"Aliases": "Sequence[str] | str | None", "Condition": "str | Mapping[str, Any] | None"}
"""Aliases of types in annotations."""


class _Kind(NamedTuple):
    """A type that an argument may have: how errors call it, and the check."""

    words: str
    holds: Callable[[Any], bool]


def _is_truth(value: Any) -> bool:
    return isinstance(value, int) and value in {0, 1}


def _is_list(value: Any) -> bool:
    # The elements of an iterator cannot be checked without consuming them.
    return isinstance(value, Iterable) and not isinstance(value, bytes | bytearray)


_KINDS = {
    "None": _Kind("None", lambda value: value is None),
    "str": _Kind("a str", lambda value: isinstance(value, str)),
    "bool": _Kind("a bool", _is_truth),
    "int": _Kind("an int", lambda value: hasattr(value, "__index__")),
    "float": _Kind("a number", lambda value: isinstance(value, numbers.Real) or hasattr(value, "__float__")),
    "os.PathLike[str]": _Kind("a path", lambda value: isinstance(value, os.PathLike)),
    "Mapping[str, Any]": _Kind("a dict", lambda value: isinstance(value, Mapping)),
} | dict.fromkeys(("Sequence[str]", "Iterable[str]", "list[str]"), _Kind("a list of str", _is_list))


class _Check:
    """The types that one argument may have."""

    def __init__(self, call: str, argument: str, kinds: list[_Kind]) -> None:
        self._start = f"{call}: {argument}"
        self._holds = tuple(kind.holds for kind in kinds)
        words = [kind.words for kind in kinds]
        self._words = " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
        self._of_text = any(kind.holds is _is_list for kind in kinds)

    def __call__(self, value: Any) -> None:
        if not any(holds(value) for holds in self._holds):
            raise TypeError(f"{self._start} must be {self._words}, not {type(value).__name__}")
        if self._of_text and not isinstance(value, str | Iterator | None):
            for index, item in enumerate(value):
                if not isinstance(item, str):
                    raise TypeError(f"{self._start}[{index}] must be a str, not {type(item).__name__}")


def checked(function: _F) -> _F:
    """The function with a check: TypeError names the first argument that its annotation does not allow."""
    parameters = inspect.signature(function).parameters
    names = tuple(parameters)
    call = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    found = {name: _check_of(function, call, parameter) for name, parameter in parameters.items()}
    checks = {name: check for name, check in found.items() if check is not None}
    if not checks:
        return function

    @functools.wraps(function)
    def with_checks(*args: Any, **kwargs: Any) -> Any:
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in checks:
                checks[name](value)
        return function(*args, **kwargs)

    return with_checks  # type: ignore[return-value]  # functools.wraps gives the same signature


def checked_calls(*, besides: Collection[str] = ()) -> Callable[[_C], _C]:
    """A class decorator: applies `checked` to public methods, constructor and setters."""

    def decorate(kind: _C) -> _C:
        for name, member in list(vars(kind).items()):
            if name in besides or (name.startswith("_") and name != "__init__"):
                continue
            if isinstance(member, FunctionType):
                setattr(kind, name, checked(member))
            elif isinstance(member, property) and member.fset is not None:
                setattr(kind, name, member.setter(checked(member.fset)))
        return kind

    return decorate


def require(call: str, argument: str, annotation: str, value: Any) -> None:
    """TypeError unless a value has a type of an annotation such as `Sequence[str] | None`."""
    _Check(call, argument, [_KINDS[part] for part in annotation.split(" | ")])(value)


def _check_of(function: Callable[..., Any], call: str, parameter: inspect.Parameter) -> _Check | None:
    """The check of a parameter; None when its annotation cannot be checked."""
    if not isinstance(parameter.annotation, str) or parameter.kind in {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }:
        return None
    parts = _SHORT.get(parameter.annotation, parameter.annotation).split(" | ")
    if set(parts) <= {"bool", "None"}:
        return None
    kinds = [_kind_of(part, getattr(function, "__globals__", {})) for part in parts]
    known = [kind for kind in kinds if kind is not None]
    return _Check(call, parameter.name, known) if len(known) == len(kinds) else None


def _kind_of(part: str, names: Mapping[str, Any]) -> _Kind | None:
    if part in _KINDS or part == "Any":
        return _KINDS.get(part)
    kind = names.get(part)
    # Protocols are not checked: modelyard itself passes what implements them.
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return None
    return _Kind(f"a {part}", lambda value: isinstance(value, kind))
