"""The metrics of a run, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from sqlalchemy import String, literal, select
from sqlalchemy.orm import Session

from modelyard_server.db.tables import MetricKey, MetricLog
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


Count = Callable[[bytes], Iterable[KeyRow]]
"""Counts the metrics in the payload of a batch."""


def page(
    session: Session, log: MetricLog, count: Count, *, text: str, page_size: int, page_token: str
) -> tuple[list[KeyRow], str]:
    """A page of the metrics whose name contains the text in any case, by the bytes of names.

    Raises InvalidField, InvalidPageToken.
    """
    size = paging.check_size(page_size, default=DEFAULT_SIZE, limit=PAGE_KEYS)
    binding = ("metric keys", log.run_id, log.attempt, log.stream, text)
    after = paging.decode(page_token, binding, [_KEY])[0] if page_token else ""
    wanted = text.casefold()
    found = [row for row in _all(session, log, count) if row.key > after and wanted in row.key.casefold()]
    # The order of code points is that of the bytes of UTF-8.
    found.sort()
    kept = found[:size]
    return kept, paging.encode(binding, [kept[-1].key]) if len(found) > size else ""


def of_rows(batches: Iterable[Rows]) -> Iterator[KeyRow]:
    """The metrics of each batch."""
    for batch in batches:
        steps = batch.steps
        for key, _, numbers, point_count, first, last in batch.columns:
            yield KeyRow(key, point_count, len(numbers), steps[first], steps[last])


def add(rows: Iterable[KeyRow], counted: dict[str, KeyRow]) -> None:
    """Adds metrics to what is counted by their names."""
    for row in rows:
        known = counted.get(row.key)
        counted[row.key] = row if known is None else _sum(known, row)


def _all(session: Session, log: MetricLog, count: Count) -> list[KeyRow]:
    """Every metric, of packed and of waiting batches."""
    columns = (getattr(MetricKey, name) for name in KeyRow._fields)
    packed = session.execute(select(*columns).where(MetricKey.log_id == log.id)) if log.packed_id else ()
    found = {row[0]: KeyRow(*row) for row in packed}
    for payload in logs.waiting(session, log):
        add(count(payload), found)
    return list(found.values())


def _sum(one: KeyRow, other: KeyRow) -> KeyRow:
    return KeyRow(
        one.key,
        one.point_count + other.point_count,
        one.number_count + other.number_count,
        min(one.first_step, other.first_step),
        max(one.last_step, other.last_step),
    )
