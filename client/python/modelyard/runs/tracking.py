"""Makes a run on the server, has what it logs sent, and ends it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from modelyard.artifacts.artifact import Workspace
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.host import notebook, terminal
from modelyard.query import lineage_calls, page_addresses
from modelyard.query.lineage import Lineage
from modelyard.query.resolve import Resolver
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_map
from modelyard.rpc.records import REMOVED
from modelyard.runs import environment
from modelyard.runs.artifacts import RunArtifacts
from modelyard.runs.config import Config
from modelyard.runs.history import History
from modelyard.runs.report import closing_card, closing_lines
from modelyard.runs.summary_replay import ReplayedSummary
from modelyard.spool import records as spool_records
from modelyard.spool.folders import RunFolder
from modelyard.spool.writer import SpoolWriter
from modelyard.sync import run_info
from modelyard.sync.destination import Destination, RunStatus
from modelyard.sync.drain import Drain
from modelyard.sync.record_drain import RecordDrain
from modelyard.sync.run_files import RunFileSender
from modelyard.sync.sender import Sender
from modelyard.sync.upload_thread import UploadThread
from modelyard.v1 import run_pb2 as pb

FIRST_REPORT_SECONDS, REPORT_SECONDS = 2.0, 10.0
"""When `finish` says what it waits for, and how often then."""
GIVEN_UP_SECONDS = 5.0
"""How long `finish` tries to send rows after it gave up on uploads."""
KILLED_SECONDS = 2.0
"""How long a killed run waits for uploads."""

_POLICIES = {
    "never": pb.RESUME_POLICY_NEVER,
    "allow": pb.RESUME_POLICY_ALLOW,
    "auto": pb.RESUME_POLICY_ALLOW,
    "must": pb.RESUME_POLICY_MUST,
}


class Recording:
    """What a run says, on its way into the files of its folder.

    Pickled, it is attached to the folder in another process: what that one records
    is sent by the process that made the run.
    """

    _history: History

    def __init__(self, workspace: Workspace, folder: RunFolder, *, attached: bool = False) -> None:
        self.folder = folder
        self.spool = SpoolWriter(folder.row_spools.path)
        self._file_spool = SpoolWriter(folder.file_spools.path)
        self._workspace = workspace
        self._attached = attached
        self._search: environment.Search | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process made the run, or is its only one."""
        return not self._attached

    def __reduce__(self) -> tuple[Any, ...]:
        return _attached, (type(self), self._workspace, self.folder.path)

    def find_environment(
        self, settings: Settings, files: Callable[[], str], found: Callable[[str, Any], None]
    ) -> None:
        """Starts the search for what of the environment takes time to find."""
        self._search = environment.Search(settings, files, self.send_file, found)
        self._search.start()

    def changed(self, field: str, value: Any) -> None:
        """Records the new value of a field of the run: `config.lr`, `summary.best`, `notes`, …

        The value REMOVED says that the field was removed.
        """
        part, _, key = field.partition(".")
        kind, name = (spool_records.SUMMARY, key) if part == "summary" else (spool_records.FIELDS, field)
        change = {"set": {}, "removed": [name]} if value is REMOVED else {"set": {name: value}, "removed": []}
        try:
            self.spool.change(kind, change)
        except Exception as error:  # whatever the reason, training goes on
            terminal.warn_once(f"field {field}", f"{field} cannot be stored: {error}")

    def send_file(self, path: str, source: str, policy: str = "now") -> None:
        """Has a file sent as one of the run, under a path; at once and from any thread, without waiting.

        `policy`: `now`, once; `live`, now and, where it has changed, at the end of the
        run; `end`, then only. It is read when it is sent, so one with `now` should not
        change. One sent under the same path before is replaced.
        """
        if Path(source).is_relative_to(self.folder.path):  # the folder may be moved before it is sent
            source = str(Path(source).relative_to(self.folder.path))
        content = {"path": path, "source": source, "policy": policy}
        try:
            self._file_spool.change(spool_records.FILE, content)
        except Exception as error:  # whatever the reason, training goes on
            terminal.warn_once(f"file {path}", f"the file {path} is not sent: {error}")

    def _close_spools(self) -> None:
        for spool in (self.spool, self._file_spool):
            spool.close()

    def _record_end(self, exit_code: int, *, killed: bool, ends_run: bool = True) -> None:
        if self._search and not killed:
            self._search.finish()
        if ends_run:
            self.spool.change(spool_records.FINISH, {"exit_code": exit_code, "killed": killed})

    def _report_dropped(self, rows: int) -> None:
        for count, noun in (
            (rows + self.spool.rows_dropped, "row"),
            (self._history.points_dropped, "value"),
        ):
            if count:
                verb = "was" if count == 1 else "were"
                terminal.termwarn(f"{terminal.plural(count, noun)} of the run {verb} dropped, see above")


class Tracking(Recording):
    """The connection, the spool and the artifacts of a run on a server."""

    artifacts: RunArtifacts
    _sender: Sender
    _drain: Drain

    def __init__(
        self, workspace: Workspace, folder: RunFolder, *, attached: bool = False, ends_run: bool = True
    ) -> None:
        """`ends_run`: False where another process made the run and ends it."""
        super().__init__(workspace, folder, attached=attached)
        self._ends_run = ends_run
        self.connection = workspace.connection
        self._reports = 0

    @property
    def is_first(self) -> bool:
        """Whether this process made the run, or is its only one."""
        return self._ends_run and not self._attached

    def start(self, record: records.RunRecord, history: History, start_time: float) -> None:
        """Starts the sender, unless another process has it."""
        self._record = record
        self._history = history
        self.artifacts = RunArtifacts(self._workspace, record, history)
        if self._attached:
            return
        settings = self._workspace.settings
        self.folder.keep_info(run_info.of_online(settings, record, start_time, ends_run=self._ends_run))
        shared = settings.mode == "shared"
        destination = Destination(record.id, record.attempt)
        summary = ReplayedSummary(record.summary, start_time)
        self._drain = Drain(self.connection, destination, self.folder, summary, own=self.spool)
        files = RunFileSender(self.connection, destination, (record.entity, record.project), self.folder.path)
        file_drain = RecordDrain(self.folder.file_spools, files, own=self._file_spool)
        files.on_progress(file_drain.advance)
        self._files = UploadThread(file_drain, "file")
        if self.connection.embedded_folder is None and settings.background_uploads is not False:
            self.artifacts.versions.allow_background(self.folder)
        lock = self.folder.lock_if_possible()
        self._sender = Sender(
            self.connection, destination, self._drain, lock=lock, shared=shared, beside=(self._files,)
        )
        self._sender.start()

    @property
    def url(self) -> str:
        """Where the page shows the run; see `Run.url`."""
        return page_addresses.of_run(self.connection, self._record.path)

    @property
    def project_url(self) -> str:
        """Where the page shows its project; see `Run.project_url`."""
        return page_addresses.of_project(self.connection, f"{self._record.entity}/{self._record.project}")

    def flush(self) -> None:
        """Sends what waits now, unless another process does."""
        if not self._attached:
            self._sender.flush()

    def status(self) -> RunStatus:
        """How many rows of this process are sent."""
        if self._attached:
            return RunStatus(self.spool.rows)
        sent = self._sender.last_sent
        moment = None if sent is None else datetime.datetime.fromtimestamp(sent, datetime.UTC)
        return RunStatus(self.spool.rows, self._drain.unsent_rows(), moment)

    def restore(self, run_path: str, name: str, root: str, *, replace: bool) -> TextIO | None:
        """Downloads a file of a run; see `Run.restore`."""
        run = Resolver(self.connection, self._record.entity, self._record.project).run(run_path)
        return self._workspace.run(run)._restore(name, root, replace=replace)

    def lineage(self, depth: int, direction: str) -> Lineage:
        """The versions and runs around the run."""
        return lineage_calls.around(self.connection, run_id=self._record.id, depth=depth, direction=direction)

    def finish(
        self, name: str, summary: Mapping[str, Any], exit_code: int, *, quiet: bool, killed: bool = False
    ) -> None:
        """Sends the rest, ends the run and prints a report.

        Where the server cannot be reached, it says what is left and how to send it. Of a
        run that another process made, it ends nothing.
        """
        if self._attached:
            self._close_spools()
            return
        self._record_end(exit_code, killed=killed, ends_run=self._ends_run)
        seconds = self._workspace.settings.finish_seconds
        if not killed:  # its time is short: what it logged is sent first, and uploads later
            seconds = self._finish_uploads(seconds)
        is_sent = self._sender.finish(seconds, self._report_progress)
        if killed:
            self._finish_uploads(seconds, KILLED_SECONDS)
        self._report_dropped(self._drain.rows_dropped)
        if is_sent:
            self._close_spools()
            self.folder.remove_spools(self.spool.writer, self._file_spool.writer)
        elif self.spool.is_on_disk and self._file_spool.is_on_disk:
            self._close_spools()  # so that `modelyard sync` may end the run while this process lives
        if not quiet:
            self._report_end(name, summary, exit_code)
        if not is_sent:
            self._report_unsent()
        self._report_uploads()

    def _finish_uploads(self, seconds: float, at_most: float = math.inf) -> float:
        """Waits for uploads in the background; returns how long the rest may take."""
        uploads = self.artifacts.versions.uploads
        if uploads is None or uploads.finish(seconds, self._report_progress, at_most=at_most):
            return seconds
        return min(seconds, GIVEN_UP_SECONDS)

    def _report_uploads(self) -> None:
        uploads = self.artifacts.versions.uploads
        left = uploads.left if uploads is not None else []
        if left:
            calls = terminal.plural(len(left), "call")
            names = ", ".join(dict.fromkeys(str(upload.content["what"]) for upload in left))
            terminal.termwarn(
                f"{calls} about artifacts of run {self._record.path} could not be made: {names}. "
                f"All is kept; this makes them: modelyard sync {self.folder.path}"
            )

    def _report_end(self, name: str, summary: Mapping[str, Any], exit_code: int) -> None:
        versions = self.artifacts.versions
        counts = [
            (self._drain.rows_sent, "metric row"),
            (versions.logged, "artifact version"),
            (versions.linked, "link"),
        ]
        curves = {
            key: curve for key, curve in self._drain.curves.points.items() if not self._history.is_hidden(key)
        }
        facts = (
            name,
            self.url,
            curves,
            summary,
            counts,
            exit_code,
            self.artifacts.versions.unchanged,
        )
        notebook.say(closing_lines(*facts), closing_card(*facts))

    def _report_progress(self, seconds: float) -> None:
        if seconds > FIRST_REPORT_SECONDS + self._reports * REPORT_SECONDS:
            self._reports += 1
            terminal.termlog(f"Sending what is left: {self._left() or 'the last changes'}")

    def _left(self) -> str:
        """How much waits, such as `3 rows, 1 file`; empty if nothing that is counted."""
        counts = [(self._drain.unsent_rows(), "row"), (self._files.unsent, self._files.what)]
        left = [terminal.plural(count, noun) for count, noun in counts if count]
        uploads = self.artifacts.versions.uploads
        if uploads is not None and uploads.waiting:
            names = dict.fromkeys(str(upload.content["what"]) for upload in uploads.waiting)
            left.append(f"{', '.join(names)} ({terminal.human_bytes(uploads.bytes_left)})")
        return ", ".join(left)

    def _report_unsent(self) -> None:
        error = self._sender.last_error
        left = self._left() or terminal.plural(0, "row")
        terminal.termwarn(
            f"{left} and the end of run {self._record.path} are not sent{f': {error}' if error else ''}. "
            f"They are kept; this sends them: modelyard sync {self.folder.path}"
        )


def create(
    connection: Connection, *, settings: Settings, config: Config, run_id: str
) -> tuple[records.RunRecord, bool]:
    """Makes the run, begins a new attempt of it, or resumes it; returns it and whether it was resumed."""
    run = pb.Run(
        name=run_id,
        entity=settings.entity or "",
        project=settings.project or "",
        display_name=settings.run_name or "",
        notes=settings.run_notes or "",
        tags=settings.run_tags or (),
        group=settings.run_group or "",
        job_type=settings.job_type or "",
        config=value_map(config.first_entries()),
        metadata=value_map(environment.at_once(settings)),
    )
    try:
        reply = connection.runs.CreateRun(pb.CreateRunRequest(run=run, resume=_policy(settings)))
    except errors.AlreadyExists as error:
        raise errors.AlreadyExists(
            f'{error}; resume="allow" goes on with it, without resume a new attempt of it begins'
        ) from error
    return messages.run(reply.run), reply.resumed


def _attached(kind: type[Recording], workspace: Workspace, folder: Path) -> Recording:
    if not folder.exists():
        terminal.termwarn(
            f"the run's folder {folder} is not on this machine: what this process logs to it is not sent. "
            "init(id=…, mode='shared') joins a run from elsewhere",
            repeat=False,
        )
    return kind(workspace, RunFolder(folder), attached=True)


def _policy(settings: Settings) -> pb.ResumePolicy.ValueType:
    """What becomes of a run that exists under the id."""
    if settings.resume is not None:
        return _POLICIES[settings.resume]
    if settings.mode == "shared":
        return pb.RESUME_POLICY_ALLOW
    return pb.RESUME_POLICY_NEW_ATTEMPT if settings.run_id else pb.RESUME_POLICY_NEVER


def policy_name(settings: Settings) -> str:
    """The name of the ResumePolicy that settings ask for."""
    return str(pb.ResumePolicy.Name(_policy(settings)))


def describe_server(connection: Connection) -> str:
    """The server of a connection, for people."""
    if connection.embedded_folder is not None:
        return f"the embedded server, data in {connection.embedded_folder}"
    return f"the server at {connection.describe()}"
