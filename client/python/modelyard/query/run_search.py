"""Finds runs by the filters and orders of Python callers."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.contract import errors
from modelyard.query import condition_tree
from modelyard.query.conditions import Condition
from modelyard.query.run_conditions import run_filter, run_order
from modelyard.query.run_matching import ordered
from modelyard.query.run_pages import MAPS, RunPages
from modelyard.rpc import list_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.records import RunRecord
from modelyard.v1 import run_pb2 as pb

_SCAN = 500
"""Runs in a page where the client checks or sorts them."""


class RunSearch:
    """The runs of a project, without one of an entity, page by page.

    An order that the server does not have is made here, from all runs that match. A
    `lazy` search has config, summary and metadata of runs only as far as they are used;
    see `RunPages`. Errors: ValueError for unknown fields and operators, at once; those of
    the calls with the first run.
    """

    def __init__(
        self,
        connection: Connection,
        where: tuple[str, str],
        condition: Condition,
        order: str | None,
        page_size: int,
        *,
        lazy: bool = False,
    ) -> None:
        self._connection = connection
        self._where = where
        self._filter = run_filter(condition)
        self._order = run_order(order)
        self._page_size = page_size
        self._wanted = self._used() if lazy else set(MAPS)
        self._pages: RunPages | None = None

    def __iter__(self) -> Iterator[RunRecord]:
        wanted, order = self._filter, self._order
        size = max(self._page_size, _SCAN) if wanted.checks else self._page_size
        if not order.server_lacks_it:
            try:
                yield from filter(wanted.matches, self._listed(order.text, size))
                return
            except errors.InvalidField as error:
                # An older server orders by fewer fields.
                if order.field is None or [field for field, _ in error.violations] != ["order_by"]:
                    raise
        field = order.field or ()
        self._wanted.update({*field[:1]}.intersection(MAPS))
        found = self._listed("create_time", max(self._page_size, _SCAN))
        yield from ordered(filter(wanted.matches, found), field, order.descending)

    def count(self) -> int | None:
        """How many runs there are; None if only fetching them all can tell.

        No call is made when the only page was fetched.
        """
        if self._filter.checks:
            return None
        if self._pages is not None and self._pages.is_complete:
            return self._pages.received
        return list_calls.count_runs(self._connection, *self._where, self._filter.text)

    def _listed(self, order: str, size: int) -> RunPages:
        entity, project = self._where
        request = pb.ListRunsRequest(
            entity=entity, project=project, page_size=size, filter=self._filter.text, order_by=order
        )
        self._pages = RunPages(self._connection, request, self._wanted)
        return self._pages

    def _used(self) -> set[str]:
        """The maps that checks and order of the client need."""
        fields = [each.field for check in self._filter.checks for each in condition_tree.comparisons(check)]
        if self._order.server_lacks_it and self._order.field:
            fields.append(self._order.field)
        return {field[0] for field in fields}.intersection(MAPS)
