"""RunService: runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.contract import errors
from modelyard.v1 import run_pb2 as pb
from modelyard_server.domain.runs import run_keys, run_lists, runs
from modelyard_server.domain.runs.metric_definitions import FIELD, DefinitionChange
from modelyard_server.domain.runs.run_lists import Shown
from modelyard_server.domain.runs.run_maps import PARTS, Change
from modelyard_server.domain.runs.runs import RunChanges, RunSpec, RunView
from modelyard_server.rpc.dispatch.call import Call, StreamCall
from modelyard_server.rpc.dispatch.stream_limits import StreamLimit
from modelyard_server.rpc.services.watching import run_watch
from modelyard_server.rpc.services.watching.run_feeds import RunFeeds
from modelyard_server.rpc.wire import arguments, convert, metric_definitions, pages, run_messages

_STATE_NAMES = {
    pb.RUN_STATE_UNSPECIFIED: "",
    **{state: name for name, state in run_messages.STATES.items()},
}
_RESUME = {
    pb.RESUME_POLICY_UNSPECIFIED: "never",
    pb.RESUME_POLICY_NEVER: "never",
    pb.RESUME_POLICY_ALLOW: "allow",
    pb.RESUME_POLICY_MUST: "must",
    pb.RESUME_POLICY_NEW_ATTEMPT: runs.NEW_ATTEMPT,
}
_TEXTS = ("display_name", "notes", "group", "job_type")


IDLE_SECONDS = 20.0


class RunServicer:
    """RunService; the rules are in `domain/runs`."""

    def __init__(self, feeds: RunFeeds, watches: StreamLimit, idle_seconds: float = IDLE_SECONDS) -> None:
        self._feeds = feeds
        self._watches = watches
        self._idle_seconds = idle_seconds

    async def WatchRuns(
        self, request: pb.WatchRunsRequest, call: StreamCall
    ) -> AsyncIterator[Any]:  # encoded messages
        self._watches.enter(call.principal)
        replies = run_watch.follow(request, call, self._feeds, self._idle_seconds)
        async with contextlib.aclosing(replies):
            async for reply in replies:
                yield reply

    def CreateRun(self, request: pb.CreateRunRequest, call: Call) -> pb.CreateRunResponse:
        resume = _RESUME.get(request.resume)
        if resume is None:
            raise errors.InvalidField.of("resume", f"{request.resume} is not a policy this server knows")
        view, resumed = runs.create(call.session, call.principal, _spec(request.run), resume)
        return pb.CreateRunResponse(run=_filled(call, view, request.read_mask), resumed=resumed)

    def GetRun(self, request: pb.GetRunRequest, call: Call) -> pb.GetRunResponse:
        arguments.selector(request)
        attempt = arguments.optional(request, "attempt")
        if request.id:
            view = runs.find(call.session, call.principal, request.id, attempt=attempt)
        else:
            view = runs.find_by_ref(call.session, call.principal, request.ref, attempt)
        return pb.GetRunResponse(run=_filled(call, view))

    def ListRuns(self, request: pb.ListRunsRequest, call: Call) -> pb.ListRunsResponse:
        mask = run_messages.Mask.parse(request.read_mask)
        totals: list[int | None] = []

        def page(size: int) -> tuple[list[pb.Run], str]:
            found = run_lists.page(
                call.session,
                call.principal,
                request.entity,
                request.project,
                filter_=request.filter,
                order_by=request.order_by,
                page_size=size,
                page_token=request.page_token,
                shown=Shown(pages.PAGE_BYTES, mask.parts, total=request.count_total and not totals),
            )
            totals.append(found.total)
            return [run_messages.message(view, mask) for view in found.views], found.token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListRunsResponse(runs=found, next_page_token=token, total_size=totals[0])

    def ListRunKeys(self, request: pb.ListRunKeysRequest, call: Call) -> pb.ListRunKeysResponse:
        found = run_keys.of_runs(
            call.session, call.principal, request.entity, request.project, request.filter
        )
        keys = [
            pb.RunKey(field=key.field, run_count=key.runs, numeric=key.is_numeric, differs=key.differs)
            for key in found.keys
        ]
        return pb.ListRunKeysResponse(
            keys=keys, run_count=found.runs, more_runs=found.more_runs, more_keys=found.more_keys
        )

    def UpdateRun(self, request: pb.UpdateRunRequest, call: Call) -> pb.UpdateRunResponse:
        view = runs.update(call.session, call.principal, request.run.id, _changes(request))
        return pb.UpdateRunResponse(run=_filled(call, view, request.read_mask))

    def DeleteRun(self, request: pb.DeleteRunRequest, call: Call) -> pb.DeleteRunResponse:
        runs.delete(call.session, call.principal, request.id)
        return pb.DeleteRunResponse()

    def FinishRun(self, request: pb.FinishRunRequest, call: Call) -> pb.FinishRunResponse:
        state = _STATE_NAMES.get(request.state)
        if state is None:
            raise errors.InvalidField.of("state", f"{request.state} is not a state this server knows")
        view = runs.finish(
            call.session,
            call.principal,
            request.id,
            exit_code=request.exit_code if request.HasField("exit_code") else None,
            state=state,
            summary=convert.values_to_json(request.summary, "summary"),
            attempt=arguments.optional(request, "attempt"),
        )
        return pb.FinishRunResponse(run=_filled(call, view, request.read_mask))

    def HeartbeatRun(self, request: pb.HeartbeatRunRequest, call: Call) -> pb.HeartbeatRunResponse:
        attempt = arguments.optional(request, "attempt")
        runs.heartbeat(call.session, call.principal, request.id, attempt)
        return pb.HeartbeatRunResponse()

    def ListRunAttempts(self, request: pb.ListRunAttemptsRequest, call: Call) -> pb.ListRunAttemptsResponse:
        def page(size: int) -> tuple[list[pb.Run], str]:
            views, token = run_lists.attempts_page(
                call.session,
                call.principal,
                request.id,
                page_size=size,
                page_token=request.page_token,
                shown=Shown(pages.PAGE_BYTES),
            )
            return [run_messages.message(view) for view in views], token

        found, token = pages.fitting(page, request.page_size)
        return pb.ListRunAttemptsResponse(runs=found, next_page_token=token)


def _spec(run: pb.Run) -> RunSpec:
    return RunSpec(
        entity=run.entity,
        project=run.project,
        run_id=run.name,
        tags=tuple(run.tags),
        **{name: getattr(run, name) for name in _TEXTS},
        maps={part: convert.values_to_json(getattr(run, part), f"run.{part}") for part in PARTS},
        definitions=metric_definitions.to_stored(run.metric_definitions),
    )


def _changes(request: pb.UpdateRunRequest) -> RunChanges:
    columns: dict[str, Any] = {}
    maps: dict[str, Change] = {}
    keys = {part: getattr(request, f"{part}_keys") for part in (*PARTS, FIELD)}
    mask = arguments.masked(
        request.update_mask, (*_TEXTS, "tags", *keys), optional=any(map(len, keys.values()))
    )
    for part in PARTS:
        given = getattr(request.run, part)
        single = arguments.single_keys(f"{part}_keys", keys[part], mask)
        if part in mask:
            maps[part] = Change(convert.values_to_json(given, f"run.{part}"), whole=True)
        elif single:
            entries = {key: given[key] for key in single if key in given}
            removed = [key for key in single if key not in given]
            maps[part] = Change(convert.values_to_json(entries, f"run.{part}"), removed)
    for path in mask - keys.keys():
        columns[path] = (
            list(dict.fromkeys(request.run.tags)) if path == "tags" else getattr(request.run, path)
        )
    attempt = arguments.optional(request, "attempt")
    return RunChanges(columns, maps, _changed_definitions(request, mask), request.run.etag, attempt)


def _changed_definitions(request: pb.UpdateRunRequest, mask: Collection[str]) -> DefinitionChange | None:
    given = request.run.metric_definitions
    single = arguments.single_keys(f"{FIELD}_keys", request.metric_definitions_keys, mask)
    if FIELD in mask:
        return DefinitionChange(metric_definitions.to_stored(given), whole=True)
    if not single:
        return None
    present = {name: given[name] for name in single if name in given}
    removed = [name for name in single if name not in given]
    return DefinitionChange(metric_definitions.to_stored(present), removed)


def _filled(call: Call, view: RunView, read_mask: FieldMask | None = None) -> pb.Run:
    mask = run_messages.Mask.parse(read_mask) if read_mask is not None else run_messages.ALL
    (filled,) = runs.with_maps(call.session, [view], mask.parts)
    return run_messages.message(filled, mask)
