"""Runs: created, resumed, changed, finished.

A run without a heartbeat for five minutes is read as crashed. Its row says
`running` until the sweep updates it, so that watches see the change. A heartbeat or
a row of metrics makes it running again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import delete as sql_delete
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.limits import NAME_LENGTH
from modelyard.contract.values import RUN_STATES
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Entity, MetricBatch, Project, Run
from modelyard_server.domain import etags, events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import SERVER, Principal
from modelyard_server.domain.runs import run_names

SILENT_AFTER = 5 * 60 * 1_000_000
"""Microseconds without a heartbeat after which a running run is shown as crashed."""
MAP_BYTES = 1 << 20
"""The most bytes of config, summary and metadata each, as JSON and on the wire: a run must fit a message."""
SWEEP_BATCH = 100

RUNNING, FINISHED, FAILED, CRASHED, KILLED = RUN_STATES


@dataclass(frozen=True)
class RunSpec:
    """The properties of a new run. Maps are in their stored form; empty texts mean the default."""

    entity: str = ""
    project: str = ""
    run_id: str = ""
    display_name: str = ""
    notes: str = ""
    group: str = ""
    job_type: str = ""
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    metadata_: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunChanges:
    """Changes of a run: new values by column, and new entries of maps by column, then by key.

    An entry is a list with its new value, or an empty one to remove it.
    """

    columns: Mapping[str, Any]
    entries: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    etag: str = ""


class RunView(NamedTuple):
    """A run with its names and its current state, as replies have it."""

    run: Run
    entity: str
    project: str
    state: str


def create(session: Session, principal: Principal, spec: RunSpec, resume: str) -> tuple[RunView, bool]:
    """The run, and whether it existed already. `resume` is `never`, `allow` or `must`.

    Raises AlreadyExists, NotFound (`must`), InvalidField, NotAllowed.
    """
    _check_spec(spec)
    if resume == "must":
        project = owners.find_project(session, principal, spec.entity, spec.project)
    else:
        project = owners.ensure_project(session, principal, spec.entity, spec.project)
    found = None
    if spec.run_id:
        same = select(Run).where(Run.project_id == project.id, Run.run_id == spec.run_id)
        found = session.scalar(same.with_for_update())
    live = found is not None and found.deleted_at is None
    if resume == "must" and not live:
        raise owners.not_found("run", f"{project.name}/{spec.run_id}")
    if found is None:
        return describe(session, _insert(session, principal, project, spec)), False
    if not live or resume == "never":
        why = "exists; resume it, or take another id" if live else "was deleted; ids are not used again"
        raise errors.AlreadyExists(
            f"run {spec.run_id!r} {why}", metadata={"resource_type": "run", "ref": found.id}
        )
    _resume(session, principal, found, spec)
    return describe(session, found), True


def find(
    session: Session,
    principal: Principal,
    run_id: str,
    *,
    action: Action = Action.READ,
    name: str = "id",
    lock: bool = False,
) -> RunView:
    """A run by its global id, which came in the field `name`. Raises NotFound, InvalidField."""
    query = _SHOWN.where(Run.id == fields.parse_id(name, run_id), Run.deleted_at.is_(None))
    row = session.execute(query.with_for_update(of=Run) if lock else query).one_or_none()
    if row is None or not authorize(session, principal, action, Resource(row[1], row[2])):
        raise owners.not_found("run", run_id)
    return _view(session, *row)


def find_by_ref(session: Session, principal: Principal, ref: str) -> RunView:
    """A run by `[[entity/]project/]run_id`. Raises NotFound, InvalidField."""
    wanted = fields.check("ref", refs.parse_run, ref)
    owner = owners.find_project(session, principal, wanted.entity, wanted.project)
    query = _SHOWN.where(Run.project_id == owner.id, Run.run_id == wanted.name, Run.deleted_at.is_(None))
    row = session.execute(query).one_or_none()
    if row is None:
        raise owners.not_found("run", str(wanted.within(principal.entity, owner.name)))
    return _view(session, *row)


def describe(session: Session, run: Run) -> RunView:
    """The view of a run."""
    project = session.get_one(Project, run.project_id)
    return _view(session, run, owners.entity_of(session, project).name, project.name)


def state_of(session: Session, run: Run) -> str:
    """The run's current state: a running one without heartbeats has crashed."""
    return state_at(now(session), run.state, run.heartbeat_at)


def state_at(time: int, stored: str, heartbeat_at: int) -> str:
    """The state at a time of a run whose row has the state `stored`."""
    silent = stored == RUNNING and heartbeat_at < time - SILENT_AFTER
    return CRASHED if silent else stored


def update(session: Session, principal: Principal, run_id: str, changes: RunChanges) -> RunView:
    """Changes a run; finished runs may change too. Raises NotFound, EtagMismatch, InvalidField."""
    _check_columns(changes.columns)
    view = find(session, principal, run_id, action=Action.WRITE, name="run.id", lock=True)
    run = view.run
    etags.check("run.etag", changes.etag, etags.of_run, run)
    for column, value in changes.columns.items():
        setattr(run, column, value)
    for column, entries in changes.entries.items():
        rest = {name: value for name, value in getattr(run, column).items() if name not in entries}
        setattr(run, column, rest | {key: entry[0] for key, entry in entries.items() if entry})
    for column in ("config", "summary", "metadata_"):
        check_map(f"run.{_wire_name(column)}", getattr(run, column))
    run.updated_at = now(session)
    return view


def delete(session: Session, principal: Principal, run_id: str) -> None:
    """Deletes a run and its metrics; its row stays as a tombstone for lineage. Raises NotFound."""
    run = find(session, principal, run_id, action=Action.DELETE, lock=True).run
    session.execute(sql_delete(MetricBatch).where(MetricBatch.run_id == run.id))
    run.config, run.summary, run.metadata_, run.tags, run.notes = {}, {}, {}, [], ""
    run.deleted_at = run.updated_at = now(session)


def finish(
    session: Session,
    principal: Principal,
    run_id: str,
    *,
    exit_code: int | None,
    state: str,
    summary: Mapping[str, Any],
) -> RunView:
    """Finishes a run and sets entries of its summary. An empty `state` follows from the exit code.

    A run that ended otherwise stays so when another writer says that it finished. One that
    ended with the same state keeps its exit code and its time of ending. Raises NotFound, InvalidField.
    """
    by_code = FAILED if exit_code else FINISHED
    state = state or by_code
    if state not in {by_code, KILLED, CRASHED}:
        raise errors.InvalidField.of("state", f"{state} does not go with exit code {exit_code or 0}")
    view = find(session, principal, run_id, action=Action.WRITE, lock=True)
    run = view.run
    if summary:
        merge_summary(run, summary)
        run.updated_at = now(session)
    # A run that the sweep marked as crashed has no `finished_at`, and may still finish.
    if run.finished_at is None or state not in {run.state, FINISHED}:
        if exit_code is None and state == FINISHED:
            exit_code = 0
        run.state, run.exit_code = state, exit_code
        run.finished_at = run.updated_at = now(session)
        _record_state(session, principal, run)
    return view._replace(state=run.state)


def heartbeat(session: Session, principal: Principal, run_id: str) -> None:
    """Records a heartbeat. Raises NotFound, RunFinished."""
    run = find(session, principal, run_id, action=Action.WRITE, lock=True).run
    require_running(session, principal, run)
    run.heartbeat_at = now(session)


def mark_silent_crashed(session: Session, before: int | None = None) -> int:
    """Marks at most 100 silent runs as crashed; returns how many.

    Their last heartbeat is earlier than `before`, by default five minutes ago.
    """
    silent = select(Run).where(
        Run.state == RUNNING,
        Run.heartbeat_at < (now(session) - SILENT_AFTER if before is None else before),
        Run.deleted_at.is_(None),
    )
    oldest = silent.order_by(Run.heartbeat_at).limit(SWEEP_BATCH)
    found = session.scalars(oldest.with_for_update(skip_locked=True)).all()
    for run in found:
        run.state = CRASHED  # without `finished_at`: the run may only have lost its connection
        _record_state(session, SERVER, run)
    return len(found)


def require_running(session: Session, principal: Principal, run: Run) -> None:
    """Raises RunFinished for a finished run; a silent one becomes running again."""
    if run.state == CRASHED and run.finished_at is None:
        run.state = RUNNING
        _record_state(session, principal, run)
    if run.state != RUNNING:
        raise errors.RunFinished(
            f"run {run.run_id!r} has ended ({run.state}); resume it to go on", metadata={"run_id": run.id}
        )


def merge_summary(run: Run, entries: Mapping[str, Any]) -> None:
    """Sets entries of the summary. Raises InvalidField if it becomes too large."""
    if entries:
        run.summary = {**run.summary, **entries}
        check_map("summary", run.summary)


def check_map(name: str, entries: Mapping[str, Any]) -> None:
    """At most 1 MiB, as JSON and on the wire. Raises InvalidField."""
    size = len(json.dumps(entries, ensure_ascii=False).encode())
    if size > MAP_BYTES:
        raise errors.InvalidField.of(name, f"is longer than {MAP_BYTES} bytes of JSON")
    # On the wire a number may need three times the space (`1.0, ` has 11 bytes), so long lists are refused.
    if 3 * size > MAP_BYTES and fields.wire_bytes(entries) > MAP_BYTES:
        raise errors.InvalidField.of(name, f"is longer than {MAP_BYTES} bytes on the wire")


_SHOWN = (
    select(Run, Entity.name, Project.name).join(Project, Run.project_id == Project.id).join(Entity)
)  # built once, so that SQLAlchemy compiles it once


def _view(session: Session, run: Run, entity: str, project: str) -> RunView:
    return RunView(run, entity, project, state_of(session, run))


def _insert(session: Session, principal: Principal, project: Project, spec: RunSpec) -> Run:
    # Its key does not change, so rows that refer to the project can be written meanwhile.
    locked = select(Project).where(Project.id == project.id).with_for_update(key_share=True)
    project = session.execute(locked.execution_options(populate_existing=True)).scalar_one()
    project.run_count += 1
    time = now(session)
    run = Run(
        id=new_id(),
        project_id=project.id,
        run_id=spec.run_id or run_names.short_id(),
        display_name=spec.display_name or run_names.display_name(project.run_count),
        state=RUNNING,
        config=dict(spec.config),
        summary=dict(spec.summary),
        metadata_=dict(spec.metadata_),
        notes=spec.notes,
        tags=_unique(spec.tags),
        group=spec.group,
        job_type=spec.job_type,
        created_by=principal.name,
        created_at=time,
        updated_at=time,
        heartbeat_at=time,
        last_step=-1,
    )
    session.add(run)
    session.flush()  # of two concurrent transactions with one run_id, the second is retried and finds the row
    _record_state(session, principal, run)
    return run


def _resume(session: Session, principal: Principal, run: Run, spec: RunSpec) -> None:
    """Resumes the run and sets the fields of the spec."""
    for column in ("display_name", "notes", "group", "job_type"):
        if getattr(spec, column):
            setattr(run, column, getattr(spec, column))
    if spec.tags:
        run.tags = _unique(spec.tags)
    for column in ("config", "summary", "metadata_"):
        merged = {**getattr(run, column), **getattr(spec, column)}
        check_map(f"run.{_wire_name(column)}", merged)
        setattr(run, column, merged)
    run.updated_at = run.heartbeat_at = now(session)
    if run.state != RUNNING:
        run.state, run.exit_code, run.finished_at = RUNNING, None, None
        _record_state(session, principal, run)


def _record_state(session: Session, principal: Principal, run: Run) -> None:
    events.record(session, run.project_id, "run_state", principal, run_id=run.id, run_state=run.state)


def _check_spec(spec: RunSpec) -> None:
    if spec.run_id:
        fields.check("run.name", refs.check_run_id, spec.run_id)
    _check_columns({column: getattr(spec, column) for column in _CHECKED})


def _check_columns(columns: Mapping[str, Any]) -> None:
    for column, value in columns.items():
        _CHECKED[column](f"run.{_wire_name(column)}", value)


def _check_label(name: str, text: str) -> None:
    fields.check(name, refs.check_text, text, limit=NAME_LENGTH)


def _check_tags(name: str, tags: Sequence[str]) -> None:
    if len(tags) > fields.TAG_LIMIT:
        raise errors.InvalidField.of(name, f"has {len(tags)} tags; at most {fields.TAG_LIMIT}")
    for index, tag in enumerate(tags):
        if not tag:
            raise errors.InvalidField.of(f"{name}[{index}]", "is empty")
        _check_label(f"{name}[{index}]", tag)


_CHECKED: dict[str, Callable[[str, Any], object]] = {
    "display_name": _check_label,
    "group": _check_label,
    "job_type": _check_label,
    "notes": fields.check_description,
    "tags": _check_tags,
    "config": check_map,
    "summary": check_map,
    "metadata_": check_map,
}


def _wire_name(column: str) -> str:
    return "metadata" if column == "metadata_" else column


def _unique(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))
