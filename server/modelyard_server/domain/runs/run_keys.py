"""The keys that the maps of runs have, by the index of attributes: what columns and filters can name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from modelyard.contract.limits import PAGE_ITEMS
from modelyard_server.db import attributes
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.upserts import batches
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import run_lists
from modelyard_server.domain.runs.run_lists import Shown

MOST_RUNS = PAGE_ITEMS
"""Runs whose keys are read."""
MOST_KEYS = 5_000
"""Keys that are returned."""
_PREFIX = "run."
_PART = re.compile(r"((?:[^.\\]|\\[.\\])+)(?:\.|$)")
_PLAIN = re.compile(r"[\w/-]+")
_BOOL = attributes.bool_key_of("")


class RunKey(NamedTuple):
    """A key; `field` is its name in filters and orders."""

    field: str
    runs: int
    is_numeric: bool
    differs: bool


class Keys(NamedTuple):
    """The keys of so many runs. `more_runs` and `more_keys` say what was left out."""

    keys: list[RunKey]
    runs: int
    more_runs: bool
    more_keys: bool


class _Values(NamedTuple):
    """What the runs have under a key of the index: how many, and the least and largest of each kind."""

    runs: int = 0
    numbers: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    bools: tuple[float, ...] = ()

    def and_(self, other: _Values) -> _Values:
        """Both together."""
        return _Values(
            self.runs + other.runs,
            self.numbers + other.numbers,
            self.texts + other.texts,
            self.bools + other.bools,
        )


def of_runs(session: Session, principal: Principal, entity: str, project: str, filter_: str) -> Keys:
    """The keys of the newest runs that match, those of most runs first.

    Raises NotFound, InvalidFilter.
    """
    page = run_lists.page(
        session,
        principal,
        entity,
        project,
        filter_=filter_,
        order_by="",
        page_size=MOST_RUNS,
        page_token="",
        shown=Shown(0, parts=()),
    )
    found: dict[str, _Values] = {}
    for batch in batches([view.run.id for view in page.views]):
        for key, values in _read(session, batch):
            found[key] = found.get(key, _Values()).and_(values)
    total = len(page.views)
    keys = sorted((_key(key, values, total) for key, values in found.items()), key=_by_runs)
    return Keys(keys[:MOST_KEYS], total, page.token != "", len(keys) > MOST_KEYS)


def _read(session: Session, run_ids: Sequence[str]) -> Iterator[tuple[str, _Values]]:
    at = Attribute
    maps = (attributes.RUN_CONFIG, attributes.RUN_SUMMARY)
    query = (
        select(
            at.key,
            func.count(),
            func.min(at.number),
            func.max(at.number),
            func.min(at.text),
            func.max(at.text),
        )
        .where(
            at.subject_id.in_(run_ids),
            or_(*(at.key.startswith(f"{each}.", autoescape=True) for each in maps)),
        )
        .group_by(at.key)
    )
    for key, runs, *bounds in session.execute(query):
        numbers, texts = _present(bounds[:2]), _present(bounds[2:])
        if key.endswith(_BOOL):
            yield key.removesuffix(_BOOL), _Values(runs, bools=numbers)
        else:
            yield key, _Values(runs, numbers, texts)


def _present(bounds: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(bound for bound in bounds if bound is not None)


def _key(key: str, values: _Values, total: int) -> RunKey:
    kinds = (values.numbers, values.texts, values.bools)
    differs = values.runs < total or sum(len(set(kind)) for kind in kinds) > 1
    return RunKey(
        _field(key), values.runs, bool(values.numbers) and not (values.texts or values.bools), differs
    )


def _field(key: str) -> str:
    """The name in the language of filters."""
    parts = _PART.findall(key.removeprefix(_PREFIX))
    return ".".join(_quoted(re.sub(r"\\(.)", r"\1", part)) for part in parts)


def _quoted(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    return '"' + part.replace("\\", r"\\").replace('"', r"\"") + '"'


def _by_runs(key: RunKey) -> tuple[int, str]:
    return -key.runs, key.field
