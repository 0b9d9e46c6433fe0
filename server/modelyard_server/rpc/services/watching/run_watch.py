"""WatchRuns: what happens in runs, as it happens."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.limits import MAX_STEP
from modelyard.v1 import run_pb2 as pb
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.runs import metrics, run_changes
from modelyard_server.domain.runs.run_changes import Position, Wanted
from modelyard_server.rpc.dispatch.call import StreamCall
from modelyard_server.rpc.services.watching.run_feeds import RunFeeds
from modelyard_server.rpc.wire import watch_messages
from modelyard_server.rpc.wire.watch_messages import Selection

MOST_RUNS, MOST_KEYS = 100, 1_000
NEVER = float("inf")


@dataclass
class _Watched:
    """A run of a watch: what was sent of it, and when to look at it again by the loop's clock."""

    run_id: str
    position: Position
    selection: Selection
    is_new: bool = True
    """Whether rows that were there before the watch may still be to come."""
    sent: bytes | None = None
    """The content of the run as it was sent last."""
    due: float = NEVER
    is_over: bool = False
    """Whether the run was deleted."""


async def follow(
    request: pb.WatchRunsRequest, call: StreamCall, feeds: RunFeeds, idle_seconds: float
) -> AsyncGenerator[bytes]:
    """The messages of a watch, serialized. Raises NotFound, InvalidField, ServerStopping."""
    clock = asyncio.get_running_loop().time
    wanted = _wanted(request)
    runs = await call.read(functools.partial(_begin, request=request, principal=call.principal))
    sent_at = clock()
    with feeds.follow(list(runs)) as news:
        while True:
            until = min([sent_at + idle_seconds, *(run.due for run in runs.values())])
            ahead = await news.wait(until)
            ahead += [run.run_id for run in runs.values() if run.due <= clock() and run.run_id not in ahead]
            feeds.require_serving()
            for run_id in ahead:
                if run_id not in runs:  # deleted
                    continue
                async for message in _news(runs[run_id], wanted, feeds):
                    await call.recheck()
                    sent_at = clock()
                    yield message
                if runs[run_id].is_over:
                    del runs[run_id]
            if clock() - sent_at >= idle_seconds:
                await call.recheck()
                sent_at = clock()
                yield pb.WatchRunsResponse().SerializeToString()


async def _news(run: _Watched, wanted: Wanted, feeds: RunFeeds) -> AsyncGenerator[bytes]:
    """The messages about what came in a run since the last one."""
    more = True
    while more:
        feeds.require_serving()
        # Batches that came before the watch and are not wanted are not even read.
        min_step = run.selection.min_step if run.is_new else 0
        reading = await feeds.page(run.run_id, run.position, wanted, min_step)
        page = reading.page
        if page.head.is_deleted:
            run.is_over = True
            yield watch_messages.deleted(run.run_id, run.position)
            return
        try:
            shown, until = await feeds.shown(run.run_id, run.position.attempt, page.head)
        except errors.NotFound:
            return  # it was just deleted, which is news in a moment
        run.due = until or NEVER
        found = await reading.parts(run.selection)
        sent = shown if shown.content != run.sent else None
        for message in watch_messages.messages(run.run_id, page, found, sent):
            yield message
        run.sent, run.position, more = shown.content, page.end, page.more
    run.is_new = False


def _begin(session: Session, *, request: pb.WatchRunsRequest, principal: Principal) -> dict[str, _Watched]:
    """The runs of a request by their ids."""
    if not 1 <= len(request.runs) <= MOST_RUNS:
        raise errors.InvalidField.of("runs", f"has {len(request.runs)} runs; expected 1 to {MOST_RUNS}")
    if len(request.keys) > MOST_KEYS:
        raise errors.InvalidField.of("keys", f"has {len(request.keys):,} keys; at most {MOST_KEYS:,}")
    runs: dict[str, _Watched] = {}
    for index, asked in enumerate(request.runs):
        field = f"runs[{index}]"
        if not 0 <= asked.min_step <= MAX_STEP:
            raise errors.InvalidField.of(f"{field}.min_step", f"is {asked.min_step}; a step is 0 to 2^53")
        known = watch_messages.parse_position(f"{field}.position", asked.position)
        run_id, position = run_changes.begin(session, principal, asked.run_id, known, field)
        if run_id in runs:
            raise errors.InvalidField.of(f"{field}.run_id", "appears twice")
        selection = Selection(frozenset(request.keys), asked.min_step)
        runs[run_id] = _Watched(run_id, position, selection)
    return runs


def _wanted(request: pb.WatchRunsRequest) -> Wanted:
    streams = {metrics.HISTORY: request.history, metrics.SYSTEM: request.system}
    return Wanted(tuple(stream for stream, asked in streams.items() if asked), request.console)
