"""Runs: created, resumed, begun anew, changed, finished.

A run without a heartbeat for five minutes is read as crashed. Its row says
`running` until the sweep updates it, so that watches see the change. A heartbeat or
a row of metrics makes it running again.

A run's row is that of its latest attempt. A process of an earlier attempt that does
not know of the next one still changes what is kept of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session

from modelyard.contract import errors, refs
from modelyard.contract.limits import NAME_LENGTH
from modelyard.contract.values import RUN_STATES
from modelyard_server.db.engine import now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Entity, Project, Run, RunAttempt
from modelyard_server.domain import etags, events, fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import SERVER, Principal
from modelyard_server.domain.runs import attempts, metric_definitions, removals, run_maps, run_names
from modelyard_server.domain.runs.metric_definitions import DefinitionChange, Definitions
from modelyard_server.domain.runs.run_maps import PARTS, SUMMARY, Attempt, Change, Maps

SILENT_AFTER = 5 * 60 * 1_000_000
"""Microseconds without a heartbeat after which a running run is shown as crashed."""
SWEEP_BATCH = 100

RUNNING, FINISHED, FAILED, CRASHED, KILLED = RUN_STATES
NEW_ATTEMPT = "new attempt"
"""The way to resume that begins the run anew."""


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
    maps: Maps = field(default_factory=dict)
    definitions: Definitions = field(default_factory=dict)


@dataclass(frozen=True)
class RunChanges:
    """Changes of a run: new values by column, changes of its maps by part, and of its metrics' definitions.

    They are of the latest attempt, unless another one is named.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, Change] = field(default_factory=dict)
    definitions: DefinitionChange | None = None
    etag: str = ""
    attempt: int | None = None


class RunView(NamedTuple):
    """A run with its names and its current state, as replies have it, in one of its attempts."""

    run: Run
    entity: str
    project: str
    state: str
    earlier: RunAttempt | None = None
    """The attempt, if it is not the latest."""
    maps: Maps = run_maps.EMPTY
    """Filled by `with_maps`."""

    @property
    def row(self) -> Run | RunAttempt:
        """The row with the fields of the attempt."""
        return self.earlier or self.run

    @property
    def attempt(self) -> Attempt:
        """Which attempt this is."""
        return Attempt(self.run.id, self.row.attempt)


def create(session: Session, principal: Principal, spec: RunSpec, resume: str) -> tuple[RunView, bool]:
    """The run, and whether it existed and was resumed.

    `resume` is `never`, `allow`, `must` or `new attempt`. Raises AlreadyExists, NotFound
    (`must`), InvalidField, NotAllowed.
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
    if resume == NEW_ATTEMPT:
        _begin_attempt(session, principal, found, spec)
        return describe(session, found), False
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
    attempt: int | None = None,
) -> RunView:
    """A run by its global id, which came in the field `name`; by default its latest attempt.

    Raises NotFound, InvalidField.
    """
    query = _SHOWN.where(Run.id == fields.parse_id(name, run_id), Run.deleted_at.is_(None))
    row = session.execute(query.with_for_update(of=Run) if lock else query).one_or_none()
    if row is None or not authorize(session, principal, action, Resource(row[1], row[2])):
        raise owners.not_found("run", run_id)
    return _view(session, *row, attempt=attempt)


def find_by_ref(session: Session, principal: Principal, ref: str, attempt: int | None = None) -> RunView:
    """A run by `[[entity/]project/]run_id`, by default its latest attempt. Raises NotFound, InvalidField."""
    wanted = fields.check("ref", refs.parse_run, ref)
    owner = owners.find_project(session, principal, wanted.entity, wanted.project)
    query = _SHOWN.where(Run.project_id == owner.id, Run.run_id == wanted.name, Run.deleted_at.is_(None))
    row = session.execute(query).one_or_none()
    if row is None:
        raise owners.not_found("run", str(wanted.within(principal.entity, owner.name)))
    return _view(session, *row, attempt=attempt)


def describe(session: Session, run: Run) -> RunView:
    """The view of a run."""
    project = session.get_one(Project, run.project_id)
    return _view(session, run, owners.entity_of(session, project).name, project.name)


def with_maps(session: Session, views: Sequence[RunView], parts: Collection[str] = PARTS) -> list[RunView]:
    """The views with these of their maps."""
    found = run_maps.read(session, [view.attempt for view in views], parts) if parts else {}
    return [view._replace(maps={**run_maps.EMPTY, **found.get(view.attempt, {})}) for view in views]


def state_of(session: Session, row: Run | RunAttempt) -> str:
    """The current state: a running one without heartbeats has crashed."""
    return state_at(now(session), row.state, row.heartbeat_at)


def state_at(time: int, stored: str, heartbeat_at: int) -> str:
    """The state at a time of a run whose row has the state `stored`."""
    silent = stored == RUNNING and heartbeat_at < time - SILENT_AFTER
    return CRASHED if silent else stored


def update(session: Session, principal: Principal, run_id: str, changes: RunChanges) -> RunView:
    """Changes a run; finished runs may change too. Raises NotFound, EtagMismatch, InvalidField."""
    _check_columns(changes.columns)
    view = find(
        session, principal, run_id, action=Action.WRITE, name="run.id", lock=True, attempt=changes.attempt
    )
    row = view.row
    etags.check("run.etag", changes.etag, etags.of_run, row)
    for column, value in changes.columns.items():
        setattr(row, column, value)
    run_maps.change(session, view.run, changes.maps, attempt=row.attempt, field="run.")
    if changes.definitions is not None:
        metric_definitions.change(row, changes.definitions)
    if changes.columns or changes.maps.keys() - {SUMMARY} or changes.definitions is not None:
        row.edits += 1
    row.updated_at = now(session)
    return view


def delete(session: Session, principal: Principal, run_id: str) -> None:
    """Deletes a run with all its attempts; its row stays as a tombstone for lineage. Raises NotFound."""
    run = find(session, principal, run_id, action=Action.DELETE, lock=True).run
    run.tags, run.notes = [], ""
    run.deleted_at = run.updated_at = now(session)
    session.flush()
    removals.remove(session, run.id)


def finish(
    session: Session,
    principal: Principal,
    run_id: str,
    *,
    exit_code: int | None,
    state: str,
    summary: Mapping[str, Any],
    attempt: int | None = None,
) -> RunView:
    """Finishes a run and sets entries of its summary. An empty `state` follows from the exit code.

    A run that ended otherwise stays so when another writer says that it finished. One that
    ended with the same state keeps its exit code and its time of ending. Raises NotFound, InvalidField.
    """
    by_code = FAILED if exit_code else FINISHED
    state = state or by_code
    if state not in {by_code, KILLED, CRASHED}:
        raise errors.InvalidField.of("state", f"{state} does not go with exit code {exit_code or 0}")
    view = find(session, principal, run_id, action=Action.WRITE, lock=True, attempt=attempt)
    row = view.row
    if summary:
        set_summary(session, view, summary)
        row.updated_at = now(session)
    # A run that the sweep marked as crashed has no `finished_at`, and may still finish.
    if row.finished_at is None or state not in {row.state, FINISHED}:
        if exit_code is None and state == FINISHED:
            exit_code = 0
        row.state, row.exit_code = state, exit_code
        row.finished_at = row.updated_at = now(session)
        if view.earlier is None:
            _record_state(session, principal, view.run)
    return view._replace(state=row.state)


def heartbeat(session: Session, principal: Principal, run_id: str, attempt: int | None = None) -> None:
    """Records a heartbeat. Raises NotFound, RunFinished."""
    view = find(session, principal, run_id, action=Action.WRITE, lock=True, attempt=attempt)
    require_running(session, principal, view)
    if view.earlier is not None:
        raise errors.RunFinished(
            f"attempt {attempt} of run {view.run.run_id!r} has ended; attempt {view.run.attempt} has begun",
            metadata={"run_id": view.run.id},
        )
    view.run.heartbeat_at = now(session)


def mark_silent_crashed(session: Session, before: int | None = None) -> int:
    """Marks at most 100 silent runs as crashed; returns how many.

    Their last heartbeat is earlier than `before`, by default five minutes ago.
    """
    silent = select(Run).where(
        Run.state == literal_column(f"'{RUNNING}'"),  # a parameter would not match the index
        Run.heartbeat_at < (now(session) - SILENT_AFTER if before is None else before),
        Run.deleted_at.is_(None),
    )
    oldest = silent.order_by(Run.heartbeat_at).limit(SWEEP_BATCH)
    found = session.scalars(oldest.with_for_update(skip_locked=True)).all()
    for run in found:
        run.state = CRASHED  # without `finished_at`: the run may only have lost its connection
        _record_state(session, SERVER, run)
    return len(found)


def require_running(session: Session, principal: Principal, view: RunView) -> None:
    """Raises RunFinished for an attempt that was ended by a call; a silent run becomes running again."""
    row = view.row
    silent = row.state == CRASHED and row.finished_at is None
    if silent and view.earlier is not None:
        return  # the next attempt ended it, which its process may not know
    if silent:
        row.state = RUNNING
        _record_state(session, principal, view.run)
    if row.state != RUNNING:
        raise errors.RunFinished(
            f"run {view.run.run_id!r} has ended ({row.state}); resume it to go on",
            metadata={"run_id": view.run.id},
        )


def set_summary(session: Session, view: RunView, entries: Mapping[str, Any]) -> None:
    """Sets entries of an attempt's summary. Raises InvalidField if it becomes too large."""
    run_maps.change(session, view.run, {SUMMARY: Change(entries)}, attempt=view.attempt.number)


_SHOWN = (
    select(Run, Entity.name, Project.name).join(Project, Run.project_id == Project.id).join(Entity)
)  # built once, so that SQLAlchemy compiles it once


def _view(session: Session, run: Run, entity: str, project: str, attempt: int | None = None) -> RunView:
    earlier = attempts.find(session, run, attempt)
    return RunView(run, entity, project, state_of(session, earlier or run), earlier)


def _insert(session: Session, principal: Principal, project: Project, spec: RunSpec) -> Run:
    # Its key does not change, so rows that refer to the project can be written meanwhile.
    locked = select(Project).where(Project.id == project.id).with_for_update(key_share=True)
    project = session.execute(locked.execution_options(populate_existing=True)).scalar_one()
    project.run_count += 1
    time = now(session)
    run = Run(
        id=new_id(),
        entity_id=project.entity_id,
        project_id=project.id,
        run_id=spec.run_id or run_names.short_id(),
        attempt=1,
        edits=0,
        display_name=spec.display_name or run_names.display_name(project.run_count),
        state=RUNNING,
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
    _set_definitions(run, spec, whole=True)
    session.add(run)
    session.flush()  # of two concurrent transactions with one run_id, the second is retried and finds the row
    run_maps.change(session, run, _added(spec), field="run.")
    _record_state(session, principal, run)
    return run


def _resume(session: Session, principal: Principal, run: Run, spec: RunSpec) -> None:
    """Resumes the run and sets the fields of the spec."""
    _set_given(run, spec)
    _set_definitions(run, spec)
    run_maps.change(session, run, _added(spec), field="run.")
    run.edits += 1
    run.updated_at = run.heartbeat_at = now(session)
    if run.state != RUNNING:
        run.state, run.exit_code, run.finished_at = RUNNING, None, None
        _record_state(session, principal, run)


def _begin_attempt(session: Session, principal: Principal, run: Run, spec: RunSpec) -> None:
    """Keeps what the run is as an earlier attempt, and begins the next one with the fields of the spec."""
    attempts.keep(session, run, CRASHED if run.state == RUNNING else run.state)
    _set_given(run, spec)
    _set_definitions(run, spec, whole=True)
    run.attempt += 1
    run.edits += 1
    run.created_by = principal.name
    run.created_at = run.updated_at = run.heartbeat_at = now(session)
    run.state, run.exit_code, run.finished_at, run.last_step = RUNNING, None, None, -1
    session.flush()
    run_maps.clear_index(session, run)
    run_maps.change(session, run, _added(spec), field="run.")
    _record_state(session, principal, run)


def _set_given(run: Run, spec: RunSpec) -> None:
    """Sets texts and tags that the spec has."""
    for column in ("display_name", "notes", "group", "job_type"):
        if getattr(spec, column):
            setattr(run, column, getattr(spec, column))
    if spec.tags:
        run.tags = _unique(spec.tags)


def _set_definitions(run: Run, spec: RunSpec, *, whole: bool = False) -> None:
    metric_definitions.change(run, DefinitionChange(spec.definitions, whole=whole))


def _added(spec: RunSpec) -> dict[str, Change]:
    return {part: Change(entries) for part, entries in spec.maps.items()}


def _record_state(session: Session, principal: Principal, run: Run) -> None:
    events.record(session, run.project_id, "run_state", principal, run_id=run.id, run_state=run.state)


def _check_spec(spec: RunSpec) -> None:
    fields.check_place("run.", spec.entity, spec.project)
    if spec.run_id:
        fields.check("run.name", refs.check_run_id, spec.run_id)
    _check_columns({column: getattr(spec, column) for column in _CHECKED})


def _check_columns(columns: Mapping[str, Any]) -> None:
    for column, value in columns.items():
        _CHECKED[column](f"run.{column}", value)


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
}


def _unique(tags: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(tags))
