"""The metrics of a run, page by page."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import String, literal, select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import MetricKey, MetricLog
from modelyard_server.db.upserts import batches
from modelyard_server.domain.runs.metrics import Rows
from modelyard_server.domain.search import paging
from modelyard_server.domain.series import logs

DEFAULT_SIZE = 1000
PAGE_KEYS = 10_000
_KEY = literal("", String())


class KeyRow(NamedTuple):
    """A metric: how many points it has, how many of them are numbers, and the range of their steps."""

    key: str
    point_count: int
    number_count: int
    first_step: int
    last_step: int


class BatchKeys(Protocol):
    """The metrics of a batch that waits. Each is counted when it is asked for: a batch may have very many."""

    @property
    def names(self) -> Collection[str]:
        """Their names."""

    def row(self, key: str) -> KeyRow:
        """One of them."""


def page(
    session: Session,
    log: MetricLog,
    keys_of: Callable[[bytes], BatchKeys],
    *,
    text: str,
    page_size: int,
    page_token: str,
) -> tuple[list[KeyRow], str]:
    """A page of the metrics whose name contains the text in any case, by the bytes of names.

    `keys_of` reads the payload of a batch. Raises InvalidField, InvalidPageToken.
    """
    size = paging.check_size(page_size, default=DEFAULT_SIZE, limit=PAGE_KEYS)
    binding = ("metric keys", log.run_id, log.attempt, log.stream, text)
    after = paging.decode(page_token, binding, [_KEY])[0] if page_token else ""
    waiting = [keys_of(payload) for payload in logs.waiting(session, log)]
    names = set(_packed_names(session, log)).union(*(batch.names for batch in waiting))
    wanted = text.casefold()
    # The order of code points is that of the bytes of UTF-8.
    found = sorted(name for name in names if name > after and (not text or wanted in name.casefold()))
    kept = found[:size]
    token = paging.encode(binding, [kept[-1]]) if len(found) > size else ""
    return _rows(session, log, waiting, kept), token


def _packed_names(session: Session, log: MetricLog) -> Iterable[str]:
    own = select(MetricKey.key).where(MetricKey.log_id == log.id)
    return session.scalars(own) if log.packed_id else ()


def _rows(
    session: Session, log: MetricLog, waiting: Sequence[BatchKeys], names: Sequence[str]
) -> list[KeyRow]:
    """These metrics, of packed and of waiting batches."""
    found: dict[str, KeyRow] = {}
    columns = [getattr(MetricKey, name) for name in KeyRow._fields]
    for some in batches(names) if log.packed_id else ():
        own = select(*columns).where(MetricKey.log_id == log.id, MetricKey.key.in_(some))
        _add((KeyRow(*row) for row in session.execute(own)), found)
    for batch in waiting:
        known = batch.names
        _add((batch.row(name) for name in names if name in known), found)
    return [found[name] for name in names]


def count(decoded: Iterable[Rows]) -> dict[str, KeyRow]:
    """The metrics of batches, by their names."""
    counted: dict[str, list[int]] = {}
    for batch in decoded:
        steps = batch.steps
        for key, _, numbers, points, first_row, last_row, _ in batch.columns:
            first, last = steps[first_row], steps[last_row]
            own = counted.get(key)
            if own is None:
                counted[key] = [points, len(numbers), first, last]
                continue
            own[0] += points
            own[1] += len(numbers)
            own[2], own[3] = min(own[2], first), max(own[3], last)
    return {key: KeyRow(key, *own) for key, own in counted.items()}


def kinds(decoded: Iterable[Rows]) -> dict[str, int]:
    """What the points of each metric are, as bits: DOUBLES, INTS, OTHERS."""
    found: dict[str, int] = {}
    for batch in decoded:
        for column in batch.columns:
            found[column.key] = found.get(column.key, 0) | column.kind
    return found


def _add(rows: Iterable[KeyRow], counted: dict[str, KeyRow]) -> None:
    """Adds metrics to what is counted by their names."""
    for row in rows:
        known = counted.get(row.key)
        counted[row.key] = row if known is None else _sum(known, row)


def _sum(one: KeyRow, other: KeyRow) -> KeyRow:
    return KeyRow(
        one.key,
        one.point_count + other.point_count,
        one.number_count + other.number_count,
        min(one.first_step, other.first_step),
        max(one.last_step, other.last_step),
    )
