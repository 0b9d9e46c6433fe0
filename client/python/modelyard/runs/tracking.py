"""What ties a run to its server: how it is made there, fed, and ended."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.artifacts.artifact import Workspace
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.query import lineage_calls
from modelyard.query.lineage import Lineage
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_map
from modelyard.rpc.plain_values import fit_entry
from modelyard.runs.artifacts import RunArtifacts
from modelyard.runs.config import Config
from modelyard.runs.history import History
from modelyard.runs.report import closing_lines
from modelyard.runs.sender import Fields, Sender
from modelyard.v1 import run_pb2 as pb

_POLICIES = {
    None: pb.RESUME_POLICY_NEVER,
    "never": pb.RESUME_POLICY_NEVER,
    "allow": pb.RESUME_POLICY_ALLOW,
    "auto": pb.RESUME_POLICY_ALLOW,
    "must": pb.RESUME_POLICY_MUST,
}


_ARGUMENT_CHARACTERS = 64 << 10


class Tracking:
    """The connection, the sender and the artifacts of one run."""

    artifacts: RunArtifacts
    _sender: Sender

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.connection = workspace.connection

    def start(self, record: records.RunRecord, history: History, fields: Fields) -> None:
        """Begins to send what the history collects."""
        self._record = record
        self._history = history
        self.artifacts = RunArtifacts(self._workspace, record, history)
        self._sender = Sender(self.connection, record.id, history, fields)
        self._sender.start()

    def changed(self, field: str) -> None:
        """A field of the run is to be sent."""
        self._sender.changed(field)

    def flush(self) -> None:
        """Sends what is waiting, now."""
        self._sender.flush()

    def lineage(self, depth: int, direction: str) -> Lineage:
        """The versions and runs around the run."""
        return lineage_calls.around(self.connection, run_id=self._record.id, depth=depth, direction=direction)

    def finish(
        self, name: str, summary: Mapping[str, Any], exit_code: int, *, quiet: bool, killed: bool = False
    ) -> None:
        """Sends the rest, ends the run and says what was kept. CommError when the server is away."""
        self._sender.stop()
        try:
            state = pb.RUN_STATE_KILLED if killed else pb.RUN_STATE_UNSPECIFIED
            self.connection.runs.FinishRun(
                pb.FinishRunRequest(id=self._record.id, exit_code=exit_code, state=state)
            )
        except errors.NotFound:
            terminal.termwarn(f"run {self._record.path} was deleted while it ran")
        self._say_dropped()
        if not quiet:
            counts = [
                (self._sender.rows_sent, "metric row"),
                (self.artifacts.logged, "artifact version"),
                (self.artifacts.linked, "link"),
            ]
            curves, unchanged = self._sender.curves, self.artifacts.unchanged
            path = self._record.path
            for line in closing_lines(name, path, curves, summary, counts, exit_code, unchanged):
                terminal.termlog(line)

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
    """Makes the run on the server, or takes up one that exists; whether it was resumed."""
    run = pb.Run(
        run_id=run_id,
        entity=settings.entity or "",
        project=settings.project or "",
        display_name=settings.run_name or "",
        notes=settings.run_notes or "",
        tags=settings.run_tags or (),
        group=settings.run_group or "",
        job_type=settings.job_type or "",
        config=value_map(config.stored()),
        metadata=value_map(_surroundings()),
    )
    try:
        reply = connection.runs.CreateRun(pb.CreateRunRequest(run=run, resume=_POLICIES[resume]))
    except errors.AlreadyExists as error:
        raise errors.AlreadyExists(
            f'{error}; resume="allow" goes on with it, another id makes a new run'
        ) from error
    return messages.run(reply.run), reply.resumed


def describe_server(connection: Connection) -> str:
    """Where the run goes, for people."""
    if connection.embedded_folder is not None:
        return f"the embedded server, data in {connection.embedded_folder}"
    return f"the server at {connection.describe()}"


def _surroundings() -> dict[str, Any]:
    """Where the run runs: host, Python, command line, git commit; without what cannot be stored."""
    facts: dict[str, Any] = {
        "host": _readable(platform.node()),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "executable": _readable(sys.executable),
        "program": _readable(sys.argv[0]) if sys.argv else "",
        "args": _arguments(sys.argv[1:]),
        "cpu_count": os.cpu_count(),
        "git_commit": _git_commit(Path.cwd()),
    }
    fitted = {name: fit_entry("metadata", name, fact) for name, fact in facts.items() if fact != ""}
    return {name: fact for name, (fact, fits) in fitted.items() if fits}


def _arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments up to 64 KiB in all: a shell that expands `*` may pass megabytes."""
    kept: list[str] = []
    left = _ARGUMENT_CHARACTERS
    for argument in arguments:
        left -= len(argument)
        if left < 0:
            return [*kept, f"… and {len(arguments) - len(kept)} more"]
        kept.append(_readable(argument))
    return kept


def _readable(text: str) -> str:
    # Bytes of the command line that are no UTF-8 arrive as surrogates, which the wire refuses.
    return text.encode("utf-8", "replace").decode()


def _git_commit(folder: Path) -> str:
    """The commit that is checked out around a folder, read without git itself; '' when there is none."""
    for place in (folder, *folder.parents):
        git = place / ".git"
        try:
            head = (git / "HEAD").read_text(encoding="ascii").strip()
            if not head.startswith("ref: "):
                return head
            name = head.removeprefix("ref: ")
            if (git / name).is_file():
                return (git / name).read_text(encoding="ascii").strip()
            packed = (git / "packed-refs").read_text(encoding="ascii").splitlines()
            return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
        except (OSError, ValueError):
            continue
    return ""
