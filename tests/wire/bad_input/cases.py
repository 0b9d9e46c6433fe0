"""The form of the tables: a request of a method, the reason of its refusal, and the field it names."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Request = Mapping[str, Any]
"""A message as JSON has it, with names of fields as in the protos.

A text such as `$version` stands for the id, ref or token of that name in the scene.
"""
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Case:
    """A call that is refused. A stream has several requests."""

    name: str
    method: str
    """Such as `RunService/GetRun`."""
    requests: tuple[Request, ...]
    reason: str
    field: str
    """The field that the refusal names; empty where it names none."""


def of_values(
    method: str,
    field: str,
    values: Mapping[str, Any],
    *others: Request,
    base: Request | None = None,
    named: str | None = None,
    reason: str = "INVALID_FIELD",
) -> Iterator[Case]:
    """Cases with each of the values in one field of a request that is right otherwise.

    The request is `base`, and `others` follow it on its stream. The refusal names `field` itself,
    unless `named` says otherwise.
    """
    for kind, value in values.items():
        requests = (placed(base or {}, field, value), *others)
        yield Case(f"{method} {field}: {kind}", method, requests, reason, field if named is None else named)


def placed(request: Request, field: str, value: Any) -> Request:
    """The request with a value in a field, such as `entries[0].path`."""
    made = copy.deepcopy(dict(request))
    steps = [name or int(index) for name, index in _STEP.findall(field)]
    inside: Any = made
    for step, following in pairwise(steps):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            inside.extend({} for _ in range(step + 1 - len(inside)))
            inside[step] = inside[step] or empty
        else:
            inside.setdefault(step, empty)
        inside = inside[step]
    last = steps[-1]
    if isinstance(last, int):
        inside.append(value)
    else:
        inside[last] = value
    return made
