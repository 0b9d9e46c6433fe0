"""Sends what a process left in the folder of its run: offline, killed, or without its server at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.query import page_addresses
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.spool import folders, staging
from modelyard.spool import records as spool_records
from modelyard.spool.folders import RunFolder
from modelyard.sync import run_info
from modelyard.sync.artifact_calls import ArtifactCalls
from modelyard.sync.destination import Destination
from modelyard.sync.drain import Drain
from modelyard.sync.record_drain import RecordDrain
from modelyard.sync.run_files import RunFileSender
from modelyard.sync.summary import SummaryReplay
from modelyard.v1 import run_pb2 as pb

SILENT_SECONDS = 60.0
"""How much later than the last record a heartbeat shows that another process goes on with the run."""

Summaries = Callable[[Mapping[str, Any], float, Mapping[str, Any]], SummaryReplay]
"""Makes a summary from its entries on the server, the start of the run, and a state."""


class InUse(errors.Error):
    """A process that lives sends the folder's contents itself."""


@dataclass
class Sent:
    """What was sent from a folder."""

    path: str
    """Of the run: `entity/project/run_id`."""
    rows: int
    rows_dropped: int
    calls: int
    """About artifacts: logged, linked and used versions."""
    calls_refused: int
    state: str
    """The run's state then; `deleted` if it does not exist any more."""
    url: str = ""
    """Where the page shows it, else the command that does; empty if it does not exist any more."""


def send(folder: RunFolder, summaries: Summaries) -> Sent:
    """Sends a folder's spools to the server that its run is on, and removes them.

    A run that nobody ended becomes `crashed`. Interrupted, it goes on where it was;
    nothing is stored twice. The folder of a run that was offline stays as it is, and
    `run.json` says that it is sent. Errors: InUse, Error, OSError.
    """
    info = folder.info
    if info.get("format") != run_info.FORMAT:
        raise errors.Error(f"{folder.path}: run.json is damaged, or of another release of modelyard")
    return _send_alone(run_info.connection(info), folder, summaries, ends=True)


def send_before_resuming(
    settings: Settings, connection: Connection, run_id: str, summaries: Summaries
) -> None:
    """Sends what is left of a run that is about to be resumed, so that its steps go on after the last row.

    Errors become warnings: `modelyard sync` sends the rest later.
    """
    for folder in folders.unsent(settings.local_root, run_id):
        if not run_info.is_on_server_of(settings, folder.info):
            continue
        try:
            sent = _send_alone(connection, folder, summaries, ends=False)
        except InUse:
            continue
        except (errors.CommError, OSError) as error:
            terminal.termwarn(f"{error}. This sends what {folder.path} holds: modelyard sync {folder.path}")
        else:
            rows = terminal.plural(sent.rows, "row")
            terminal.termlog(f"Sent {rows} that an earlier process of the run had left")


def _send_alone(connection: Connection, folder: RunFolder, summaries: Summaries, *, ends: bool) -> Sent:
    lock = folder.lock()
    if lock is None:
        raise InUse(f"{folder.path} is in use: its own process sends what it holds")
    try:
        return _send(connection, folder, summaries, ends)
    finally:
        lock.release()


def _send(connection: Connection, folder: RunFolder, summaries: Summaries, ends: bool) -> Sent:
    info = folder.info
    was_offline = "run" in info
    if not info["id"]:
        info = run_info.create(connection, info)
        folder.keep_info(info)
    path = f"{info['entity']}/{info['project']}/{info['name']}"
    try:
        latest = _run(connection, info["id"])
        run = latest if latest.attempt == info["attempt"] else _run(connection, info["id"], info["attempt"])
    except errors.NotFound:
        folder.remove_spools()
        return Sent(path, 0, 0, 0, len(staging.waiting(folder.stages)), "deleted")
    destination = Destination(run.id, run.attempt, late=True)
    last_written = folder.last_written
    calls = ArtifactCalls(connection, run, folder)
    owner = (info["entity"], info["project"])
    files = RunFileSender(connection, destination, owner, folder.path, folder.file_spools.sent.get("watched"))
    file_drain = RecordDrain(folder.file_spools, files, keeps_sent=was_offline)
    drain = Drain(
        connection,
        destination,
        folder,
        summaries(run.summary, info["started"], folder.row_spools.sent.get("summary", {})),
        actions={spool_records.ARTIFACT: calls.repeat},
        keeps_sent=was_offline,
    )
    drain.turn(final=True)
    _make_staged(calls, folder)
    drain.fields.retry_refused()
    drain.turn(final=True)
    file_drain.turn(final=True)
    if not folder.is_logged_to():
        if drain.finish is not None:
            drain.end_run()
        elif ends and info["ends_run"] and run.finish_time is None and not _goes_on(run, last_written):
            _end_as_crashed(connection, destination)
        if was_offline:
            folder.keep_info({**info, "sent": True})
        else:
            folder.remove_spools()
    state = _run(connection, run.id, run.attempt).state
    url = page_addresses.of_run(connection, path)
    return Sent(path, drain.rows_sent, drain.rows_dropped, calls.done, calls.refused, state, url)


def _make_staged(calls: ArtifactCalls, folder: RunFolder) -> None:
    """Makes the calls about artifacts that waited in the background; what is refused stays."""
    for content in staging.waiting(folder.stages):
        refused = calls.refused
        calls.repeat(content)
        if calls.refused == refused:
            request_id = content["request_id"]
            staging.Stage(folder.stages / request_id).finish(calls.version_of(request_id))


def _run(connection: Connection, run_id: str, attempt: int | None = None) -> records.RunRecord:
    """An attempt of a run, by default the latest. Errors: NotFound."""
    return messages.run(connection.runs.GetRun(pb.GetRunRequest(id=run_id, attempt=attempt)).run)


def _end_as_crashed(connection: Connection, destination: Destination) -> None:
    connection.runs.FinishRun(
        pb.FinishRunRequest(id=destination.run_id, attempt=destination.attempt, state=pb.RUN_STATE_CRASHED)
    )


def _goes_on(run: records.RunRecord, last_written: float) -> bool:
    """Whether another process has resumed the run since the last record of this one."""
    if run.heartbeat_time is None:
        return False
    return run.heartbeat_time.timestamp() > last_written + SILENT_SECONDS
