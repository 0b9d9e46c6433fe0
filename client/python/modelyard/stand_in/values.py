"""What expressions of a script stand for: modules, classes, functions and objects of modelyard."""

from __future__ import annotations

import builtins
import dis
import functools
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, get_args

from modelyard import wandb_names

_NO_SUCH_NAME = "modelyard has no such name"
_HANDLES = {
    "ArtifactHandle": "modelyard.artifacts.artifact.Artifact",
    "CollectionHandle": "modelyard.registry.collection.Collection",
    "RunHandle": "modelyard.public_runs.public_run.PublicRun",
}
"""The classes behind protocols that annotations name."""
_SECTIONS = {"Run": "Run", "Artifact": "Artifact", "Api": "Api", "PublicRun": "public run"}
"""Sections of the list of W&B's names, by the class that has them here."""
_SEVERAL = re.compile(r"(?:list|List|tuple|Sequence|Iterable|Iterator|Listing)\[(\w+)")


@dataclass(frozen=True)
class Lacking:
    """A name that modelyard does not have."""

    reason: str


@dataclass(frozen=True)
class Instance:
    """An object of a class; `several`: an object that has such items."""

    kind: type
    several: bool = False


@dataclass(frozen=True)
class Returning:
    """A function of the script that returns a value."""

    value: Value


Value = ModuleType | type | Callable[..., Any] | Instance | Returning | None
"""None where it is not known."""


def as_wandb(name: str) -> str:
    """The name of a module as scripts write it."""
    return re.sub(r"^modelyard\b", "wandb", name)


def module(name: str) -> Value | Lacking:
    """The module of modelyard that `import wandb.x` gives."""
    own = re.sub(r"^wandb\b", "modelyard", name)
    try:
        return importlib.import_module(own)
    except ModuleNotFoundError as error:
        if error.name and own.startswith(error.name):
            return Lacking("modelyard has no module of this name")
        return None  # it needs a library that is not installed here
    except ImportError:
        return None


def member(owner: Value, name: str) -> Value | Lacking:
    """An attribute of a value; None where it may be anything."""
    if isinstance(owner, ModuleType):
        found = _of_module(owner, name)
    elif isinstance(owner, Instance) and not owner.several:
        found = _of_instance(owner.kind, name)
    elif isinstance(owner, type):
        is_there = inspect.getattr_static(owner, name, None) is not None or hasattr(owner, name)
        found = None if is_there else Lacking(_NO_SUCH_NAME)
    else:
        return None
    return _explained(found, owner, name) if isinstance(found, Lacking) else found


def difference(owner: Value, name: str) -> str:
    """How a name that modelyard has differs from W&B's, as its list says; empty where it does not."""
    known = _listed(owner, name)
    return known.note if known is not None and known.state == wandb_names.DIFFERS else ""


def _explained(lacking: Lacking, owner: Value, name: str) -> Lacking:
    """With what W&B's list says to use instead."""
    known = _listed(owner, name)
    if known is not None and known.note:
        return Lacking(known.note.removeprefix("raises UsageError: "))
    if known is None and _section(owner) and lacking.reason == _NO_SUCH_NAME:
        return Lacking("neither modelyard nor W&B has such a name")
    return lacking


def _listed(owner: Value, name: str) -> wandb_names.Name | None:
    return _list().get((_section(owner), name))


def _section(owner: Value) -> str:
    if isinstance(owner, ModuleType):
        return "module" if owner.__name__ == "modelyard" else ""
    kind = owner.kind if isinstance(owner, Instance) else owner
    return _SECTIONS.get(getattr(kind, "__name__", ""), "")


@functools.cache
def _list() -> dict[tuple[str, str], wandb_names.Name]:
    return {(one.section, one.name): one for one in wandb_names.read()}


def result(function: Value, *, only_classes: bool = False) -> Value:
    """What a call returns, by its annotation."""
    if isinstance(function, type):
        return Instance(function)
    if only_classes or function is None or isinstance(function, Instance | ModuleType):
        return None
    if isinstance(function, Returning):
        return function.value
    return _annotated(inspect.unwrap(function))


def item(value: Value) -> Value:
    """What iterating over a value gives."""
    if not isinstance(value, Instance):
        return None
    if value.several:
        return Instance(value.kind)
    # `class Runs(Listing[PublicRun])`
    bases = getattr(value.kind, "__orig_bases__", ())
    return next((Instance(kind) for base in bases for kind in get_args(base) if isinstance(kind, type)), None)


def returning(value: Value) -> Value:
    """A function that returns the value."""
    return Returning(value) if value is not None else None


def arguments_lacking(function: Value, names: Sequence[str]) -> list[str]:
    """Those of the named arguments that a function or class of modelyard does not take."""
    if function is None or isinstance(function, Instance | Returning | ModuleType):
        return []
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    return [name for name in names if name and name not in parameters]


def name_of(value: Value) -> str:
    """As messages call it."""
    if isinstance(value, ModuleType):
        return as_wandb(value.__name__)
    if isinstance(value, Instance):
        return _public(value.kind)
    if isinstance(value, type):
        return f"wandb.{_public(value)}"
    called = str(getattr(value, "__qualname__", "it"))
    return called if "." in called else f"wandb.{called}"


def _public(kind: type) -> str:
    return {"PublicRun": "Api.run()"}.get(kind.__name__, kind.__name__)


def _of_module(owner: ModuleType, name: str) -> Value | Lacking:
    try:
        found = getattr(owner, name)
    except AttributeError:
        below = module(f"{owner.__name__}.{name}")
        return Lacking(_NO_SUCH_NAME) if isinstance(below, Lacking) else below
    except ImportError:  # it needs a library that is not installed here
        return None
    if found is None or (isinstance(found, object) and _is_data(found)):
        annotation = getattr(owner, "__annotations__", {}).get(name, "")
        return _class_of(str(annotation), vars(owner))
    refused = _refusal(found)
    value: Value = found
    return value if refused is None else refused


def _refusal(function: object) -> Lacking | None:
    """Why a function that only raises an error does so."""
    if getattr(function, "__annotations__", {}).get("return") != "NoReturn":
        return None
    sentence = (inspect.getdoc(function) or "").partition("\n")[0]
    return Lacking(sentence.partition(": ")[2] or sentence)


def _is_data(found: object) -> bool:
    return not isinstance(found, ModuleType | type) and not inspect.isroutine(found)


def _of_instance(kind: type, name: str) -> Value | Lacking:
    found = inspect.getattr_static(kind, name, None)
    if found is None:
        return None if _may_have(kind, name) else Lacking(_NO_SUCH_NAME)
    if isinstance(found, property | functools.cached_property):
        getter = found.fget if isinstance(found, property) else found.func
        return _annotated(getter) if getter else None
    found = getattr(found, "__func__", found)
    return found if callable(found) else None


def _may_have(kind: type, name: str) -> bool:
    """Whether objects of a class have an attribute that the class lacks."""
    if any(name in getattr(base, "__annotations__", {}) for base in kind.__mro__):
        return True
    finder = getattr(kind, "__getattr__", None)
    if (finder is not None and _refusal(finder) is None) or hasattr(kind, name):
        return True
    return name in _set_by_methods(kind)


@functools.cache
def _set_by_methods(kind: type) -> frozenset[str]:
    """The attributes that the methods of a class set."""
    methods = [inspect.unwrap(member) for base in kind.__mro__ for member in vars(base).values()
               if inspect.isfunction(member)]  # fmt: skip
    return frozenset(
        step.argval
        for method in methods
        for step in dis.get_instructions(method)
        if step.opname == "STORE_ATTR"
    )


def _annotated(function: Callable[..., Any]) -> Value:
    annotation = getattr(function, "__annotations__", {}).get("return", "")
    return _class_of(str(annotation), getattr(function, "__globals__", {}))


def _class_of(annotation: str, names: dict[str, Any]) -> Value:
    """An instance of the one class of modelyard in an annotation such as `Artifact | None`."""
    several = _SEVERAL.search(annotation)
    candidates = [several.group(1)] if several else re.findall(r"\w+", annotation)
    found = [kind for word in candidates if (kind := _class(word, names)) is not None]
    return Instance(found[0], several is not None) if len(found) == 1 else None


def _class(word: str, names: dict[str, Any]) -> type | None:
    if word in _HANDLES:
        path, _, word = _HANDLES[word].rpartition(".")
        names = vars(importlib.import_module(path))
    found = names.get(word) or getattr(sys.modules["modelyard"], word, None)
    is_own = isinstance(found, type) and found.__module__.startswith("modelyard")
    return found if is_own and not hasattr(builtins, word) else None
