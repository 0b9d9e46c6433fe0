"""The names of the package that speak of the active run: what they do when there is none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from modelyard.contract.errors import Error
from modelyard.runs.run import Run
from modelyard.runs.session import require_run

_P = ParamSpec("_P")
_R = TypeVar("_R")


def of_active_run(method: Callable[Concatenate[Run, _P], _R]) -> Callable[_P, _R]:
    """A function that calls a method of the active run; Error when there is none."""

    @functools.wraps(method)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return method(require_run(method.__name__), *args, **kwargs)

    return call


class BeforeInit:
    """Stands for `config` or `summary` before `init`; any use says what is missing."""

    def __init__(self, name: str) -> None:
        self.__dict__["_name"] = name

    def _missing(self, *_: Any) -> Any:
        raise Error(f"You must call modelyard.init() before modelyard.{self._name}")

    __getitem__ = __setitem__ = __delitem__ = __setattr__ = _missing

    def __getattr__(self, name: str) -> Any:
        # Introspection (copy, pickle, doctest) asks for such names and expects AttributeError.
        if name.startswith("__"):
            raise AttributeError(name)
        return self._missing()
