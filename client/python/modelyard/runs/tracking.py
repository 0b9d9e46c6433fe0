"""Makes a run on the server, sends its rows and artifacts, and ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelyard.artifacts.artifact import Workspace
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.host import notebook, terminal
from modelyard.query import lineage_calls
from modelyard.query.lineage import Lineage
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_map
from modelyard.runs import environment
from modelyard.runs.artifacts import RunArtifacts
from modelyard.runs.config import Config
from modelyard.runs.history import History
from modelyard.runs.report import closing_card, closing_lines
from modelyard.runs.sender import Fields, Sender
from modelyard.v1 import run_pb2 as pb

_POLICIES = {
    None: pb.RESUME_POLICY_NEVER,
    "never": pb.RESUME_POLICY_NEVER,
    "allow": pb.RESUME_POLICY_ALLOW,
    "auto": pb.RESUME_POLICY_ALLOW,
    "must": pb.RESUME_POLICY_MUST,
}


class Tracking:
    """The connection, the sender and the artifacts of one run."""

    artifacts: RunArtifacts
    _sender: Sender

    def __init__(self, workspace: Workspace, *, ends_run: bool = True) -> None:
        """`ends_run`: False where another process made the run and ends it."""
        self._workspace = workspace
        self._ends_run = ends_run
        self._search: environment.Search | None = None
        self.connection = workspace.connection

    def start(self, record: records.RunRecord, history: History, fields: Fields) -> None:
        """Starts the sender."""
        self._record = record
        self._history = history
        self.artifacts = RunArtifacts(self._workspace, record, history)
        self._sender = Sender(self.connection, record.id, history, fields)
        self._sender.start()

    def find_environment(
        self, settings: Settings, files: Callable[[], str], found: Callable[[str, Any], None]
    ) -> None:
        """Starts the search for what of the environment takes time to find."""
        self._search = environment.Search(settings, files, found)
        self._search.start()

    def changed(self, field: str) -> None:
        """Marks a field of the run to be sent."""
        self._sender.changed(field)

    def flush(self) -> None:
        """Sends the waiting rows now."""
        self._sender.flush()

    def lineage(self, depth: int, direction: str) -> Lineage:
        """The versions and runs around the run."""
        return lineage_calls.around(self.connection, run_id=self._record.id, depth=depth, direction=direction)

    def finish(
        self, name: str, summary: Mapping[str, Any], exit_code: int, *, quiet: bool, killed: bool = False
    ) -> None:
        """Sends the rest, ends the run and prints a report. CommError when the server cannot be reached."""
        if self._search and not killed:
            self._search.finish()
        self._sender.stop()
        if self._ends_run:
            self._end_run(exit_code, killed)
        self._say_dropped()
        if not quiet:
            counts = [
                (self._sender.rows_sent, "metric row"),
                (self.artifacts.logged, "artifact version"),
                (self.artifacts.linked, "link"),
            ]
            curves = {
                key: curve for key, curve in self._sender.curves.items() if not self._history.is_hidden(key)
            }
            unchanged = self.artifacts.unchanged
            facts = (name, self._record.path, curves, summary, counts, exit_code, unchanged)
            notebook.say(closing_lines(*facts), closing_card(*facts))

    def _end_run(self, exit_code: int, killed: bool) -> None:
        state = pb.RUN_STATE_KILLED if killed else pb.RUN_STATE_UNSPECIFIED
        request = pb.FinishRunRequest(id=self._record.id, exit_code=exit_code, state=state)
        try:
            self.connection.runs.FinishRun(request)
        except errors.NotFound:
            terminal.termwarn(f"run {self._record.path} was deleted while it ran")

    def _say_dropped(self) -> None:
        for count, noun in (
            (self._sender.rows_dropped, "row"),
            (self._history.points_dropped, "value"),
        ):
            if count:
                verb = "was" if count == 1 else "were"
                terminal.termwarn(f"{terminal.plural(count, noun)} of the run {verb} dropped, see above")


def create(
    connection: Connection,
    *,
    settings: Settings,
    config: Config,
    run_id: str,
    resume: str | None,
) -> tuple[records.RunRecord, bool]:
    """Makes the run on the server, or resumes an existing one; returns it and whether it was resumed."""
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
        reply = connection.runs.CreateRun(pb.CreateRunRequest(run=run, resume=_POLICIES[resume]))
    except errors.AlreadyExists as error:
        raise errors.AlreadyExists(
            f'{error}; resume="allow" goes on with it, another id makes a new run'
        ) from error
    return messages.run(reply.run), reply.resumed


def describe_server(connection: Connection) -> str:
    """The server of a connection, for people."""
    if connection.embedded_folder is not None:
        return f"the embedded server, data in {connection.embedded_folder}"
    return f"the server at {connection.describe()}"
