"""Finds runs by the filters and orders of Python callers."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.contract import errors
from modelyard.query.conditions import Condition
from modelyard.query.run_conditions import RunFilter, RunOrder, run_filter, run_order
from modelyard.query.run_matching import ordered
from modelyard.rpc import list_calls, records
from modelyard.rpc.connection import Connection

_SCAN = 500
"""Runs in a page where the client checks or sorts them."""


def find(
    connection: Connection,
    entity: str,
    project: str,
    condition: Condition,
    order: str | None,
    page_size: int,
) -> Iterator[records.RunRecord]:
    """The runs of a project, without one of an entity, page by page.

    An order that the server does not have is made here, from all runs that match. Errors:
    ValueError for unknown fields and operators, at once; those of the calls with the first run.
    """
    return _found(connection, (entity, project), run_filter(condition), run_order(order), page_size)


def count(connection: Connection, entity: str, project: str, condition: Condition) -> int | None:
    """How many runs `find` finds; None if only fetching them all can tell."""
    wanted = run_filter(condition)
    return None if wanted.checks else list_calls.count_runs(connection, entity, project, wanted.text)


def _found(
    connection: Connection, where: tuple[str, str], wanted: RunFilter, order: RunOrder, page_size: int
) -> Iterator[records.RunRecord]:
    size = max(page_size, _SCAN) if wanted.checks else page_size
    if not order.server_lacks_it:
        try:
            for run in list_calls.runs(connection, *where, wanted.text, order.text, size):
                if wanted.matches(run):
                    yield run
            return
        except errors.InvalidField as error:
            # An older server orders by fewer fields.
            if order.field is None or [field for field, _ in error.violations] != ["order_by"]:
                raise
    found = list_calls.runs(connection, *where, wanted.text, "create_time", max(page_size, _SCAN))
    yield from ordered(filter(wanted.matches, found), order.field or (), order.descending)
