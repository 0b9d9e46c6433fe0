"""RunService: runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.contract import errors
from modelyard.v1 import run_pb2 as pb
from modelyard_server.db.tables import Run
from modelyard_server.domain import etags
from modelyard_server.domain.runs import run_lists, runs
from modelyard_server.domain.runs.runs import RunChanges, RunSpec, RunView
from modelyard_server.rpc.dispatch.call import Call
from modelyard_server.rpc.wire import arguments, convert, pages

_STATES = {
    runs.RUNNING: pb.RUN_STATE_RUNNING,
    runs.FINISHED: pb.RUN_STATE_FINISHED,
    runs.FAILED: pb.RUN_STATE_FAILED,
    runs.CRASHED: pb.RUN_STATE_CRASHED,
    runs.KILLED: pb.RUN_STATE_KILLED,
}
_STATE_NAMES = {pb.RUN_STATE_UNSPECIFIED: "", **{state: name for name, state in _STATES.items()}}
_RESUME = {
    pb.RESUME_POLICY_UNSPECIFIED: "never",
    pb.RESUME_POLICY_NEVER: "never",
    pb.RESUME_POLICY_ALLOW: "allow",
    pb.RESUME_POLICY_MUST: "must",
}
_MAPS = {"config": "config", "summary": "summary", "metadata": "metadata_"}
_TEXTS = ("display_name", "notes", "group", "job_type")


class RunServicer:
    """RunService; the rules are in `domain/runs`."""

    def CreateRun(self, request: pb.CreateRunRequest, call: Call) -> pb.CreateRunResponse:
        resume = _RESUME.get(request.resume)
        if resume is None:
            raise errors.InvalidField.of("resume", f"{request.resume} is not a policy this server knows")
        view, resumed = runs.create(call.session, call.principal, _spec(request.run), resume)
        return pb.CreateRunResponse(run=_message(view), resumed=resumed)

    def GetRun(self, request: pb.GetRunRequest, call: Call) -> pb.GetRunResponse:
        arguments.selector(request)
        if request.id:
            view = runs.find(call.session, call.principal, request.id)
        else:
            view = runs.find_by_ref(call.session, call.principal, request.ref)
        return pb.GetRunResponse(run=_message(view))

    def ListRuns(self, request: pb.ListRunsRequest, call: Call) -> pb.ListRunsResponse:
        rows: dict[str, Run] = {}

        def page(size: int) -> tuple[list[pb.Run], str]:
            views, token = run_lists.page(
                call.session,
                call.principal,
                request.entity,
                request.project,
                filter_=request.filter,
                order_by=request.order_by,
                page_size=size,
                page_token=request.page_token,
            )
            rows.update((view.run.id, view.run) for view in views)
            return [_without_etag(view) for view in views], token

        found, token = pages.fitting(page, request.page_size)
        # An etag is a digest of config and metadata: only what is sent gets one.
        for message in found:
            message.etag = etags.of_run(rows[message.id])
        return pb.ListRunsResponse(runs=found, next_page_token=token)

    def UpdateRun(self, request: pb.UpdateRunRequest, call: Call) -> pb.UpdateRunResponse:
        view = runs.update(call.session, call.principal, request.run.id, _changes(request))
        return pb.UpdateRunResponse(run=_message(view))

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
        )
        return pb.FinishRunResponse(run=_message(view))

    def HeartbeatRun(self, request: pb.HeartbeatRunRequest, call: Call) -> pb.HeartbeatRunResponse:
        runs.heartbeat(call.session, call.principal, request.id)
        return pb.HeartbeatRunResponse()


def _spec(run: pb.Run) -> RunSpec:
    maps: dict[str, Any] = {
        column: convert.values_to_json(getattr(run, name), f"run.{name}") for name, column in _MAPS.items()
    }
    return RunSpec(
        entity=run.entity,
        project=run.project,
        run_id=run.name,
        tags=tuple(run.tags),
        **{name: getattr(run, name) for name in _TEXTS},
        **maps,
    )


def _changes(request: pb.UpdateRunRequest) -> RunChanges:
    columns: dict[str, Any] = {}
    entries: dict[str, dict[str, list[Any]]] = {}
    keys = {name: getattr(request, f"{name}_keys") for name in _MAPS}
    mask = arguments.masked(
        request.update_mask, (*_TEXTS, "tags", *_MAPS), optional=any(map(len, keys.values()))
    )
    for name, column in _MAPS.items():
        if single := arguments.single_keys(f"{name}_keys", keys[name], mask):
            given = getattr(request.run, name)
            entries[column] = {key: _entry(given, key, name) for key in single}
    for path in mask:
        if path == "tags":
            columns[path] = list(dict.fromkeys(request.run.tags))
        elif path in _MAPS:
            columns[_MAPS[path]] = convert.values_to_json(getattr(request.run, path), f"run.{path}")
        else:
            columns[path] = getattr(request.run, path)
    return RunChanges(columns, entries, request.run.etag)


def _entry(entries: Mapping[str, Any], key: str, name: str) -> list[Any]:
    if key not in entries:
        return []
    return list(convert.values_to_json({key: entries[key]}, f"run.{name}").values())


def _message(view: RunView) -> pb.Run:
    message = _without_etag(view)
    message.etag = etags.of_run(view.run)
    return message


def _without_etag(view: RunView) -> pb.Run:
    run = view.run
    return pb.Run(
        id=run.id,
        name=run.run_id,
        entity=view.entity,
        project=view.project,
        display_name=run.display_name,
        state=_STATES[view.state],
        config=convert.json_to_values(run.config),
        summary=convert.json_to_values(run.summary),
        notes=run.notes,
        tags=run.tags,
        group=run.group,
        job_type=run.job_type,
        created_by=run.created_by,
        create_time=convert.timestamp(run.created_at),
        update_time=convert.timestamp(run.updated_at),
        heartbeat_time=convert.timestamp(run.heartbeat_at),
        finish_time=convert.timestamp(run.finished_at),
        exit_code=run.exit_code,
        last_step=None if run.last_step < 0 else run.last_step,
        metadata=convert.json_to_values(run.metadata_),
    )
