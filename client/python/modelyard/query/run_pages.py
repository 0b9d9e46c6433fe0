"""The runs of a list, page by page, with their maps only as far as those are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.rpc import messages
from modelyard.rpc.connection import Connection
from modelyard.rpc.list_calls import pages
from modelyard.rpc.records import RunRecord
from modelyard.v1 import run_pb2 as pb

MAPS = ("config", "summary", "metadata")
_FIELDS = (
    *("display_name", "state", "notes", "tags", "group", "job_type", "created_by", "create_time"),
    *("update_time", "heartbeat_time", "finish_time", "exit_code", "last_step", "etag", "attempt"),
)


class RunPages:
    """The runs that a request lists, fetched when they are needed.

    `wanted` are the maps that pages have. Other maps are read by `RunRecord.late`, those
    of all runs of a page in one call; the pages that follow have them then.
    """

    def __init__(self, connection: Connection, request: pb.ListRunsRequest, wanted: set[str]) -> None:
        self._connection = connection
        self._request = request
        self._wanted = wanted
        self.received = 0
        """How many runs came so far."""
        self.is_complete = False
        """Whether the last page came."""

    def __iter__(self) -> Iterator[RunRecord]:
        for page in pages(self._list, self._request):
            self.received += len(page.runs)
            self.is_complete = not page.next_page_token
            missing = _Missing(self._connection, self._request, self._wanted, len(page.runs))
            for run in map(messages.run, page.runs):
                yield dataclasses.replace(run, late=missing) if missing.parts else run

    def _list(self, request: pb.ListRunsRequest) -> pb.ListRunsResponse:
        request.read_mask.Clear()
        if not self._wanted.issuperset(MAPS):
            request.read_mask.paths.extend([*_FIELDS, *sorted(self._wanted)])
        reply: pb.ListRunsResponse = self._connection.runs.ListRuns(request)
        return reply


class _Missing:
    """The maps that a page came without. Reading one for a run adds it to what later pages have."""

    def __init__(
        self, connection: Connection, request: pb.ListRunsRequest, wanted: set[str], size: int
    ) -> None:
        self.parts = frozenset(MAPS) - wanted
        self._connection = connection
        self._wanted = wanted
        self._known: dict[str, Mapping[str, Any]] = {}
        if self.parts:
            self._request = pb.ListRunsRequest()
            self._request.CopyFrom(request)
            self._request.page_size = size

    def __call__(self, run: RunRecord, part: str) -> dict[str, Any]:
        """A map of a run of the page. Errors: NotFound for a run that was deleted."""
        if part not in self._known:
            self._wanted.add(part)
            self._request.read_mask.Clear()
            self._request.read_mask.paths.extend(["attempt", part])
            reply = self._connection.runs.ListRuns(self._request)
            self._known[part] = {
                found.id: (found.attempt or 1, messages.values(getattr(found, part))) for found in reply.runs
            }
        attempt, entries = self._known[part].get(run.id, (0, {}))
        if attempt != run.attempt:  # the page is another one now, or was cut since its maps are large
            request = pb.GetRunRequest(id=run.id, attempt=run.attempt)
            entries = messages.values(getattr(self._connection.runs.GetRun(request).run, part))
        return dict(entries)
