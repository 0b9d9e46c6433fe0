"""Makes the calls about artifacts that a run recorded: offline, or to be made in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from modelyard.contract import errors, refs
from modelyard.host import terminal
from modelyard.rpc import collection_calls, messages, records, version_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import is_retryable
from modelyard.spool.folders import RunFolder
from modelyard.spool.staging import Stage
from modelyard.transfer import transfer

LOG, LINK, USE = "log", "link", "use"
REFUSALS = (errors.Error, AssertionError, ValueError, OSError)
"""What a call raises that is refused, besides CommErrors of calls that may succeed later."""
_OF_THE_RUN = ("entity", "project", "type", "run_id", "base_version_id")
"""Properties of a version that are known when it is sent only."""


class Made(NamedTuple):
    """The version that a LOG call made; `created` is False where it existed already."""

    version: records.Version
    created: bool


def log_call(
    request_id: str, header: transfer.NewVersion, *, incremental: bool = False, is_model: bool = False
) -> dict[str, Any]:
    """The record of a LOG call, whose files are staged under its request id."""
    return {
        "call": LOG,
        "what": header.name,
        "request_id": request_id,
        "header": {key: value for key, value in asdict(header).items() if key not in _OF_THE_RUN},
        "type": header.type,
        "is_model": is_model,
        "base": header.base_version_id,
        "incremental": incremental and not header.base_version_id,
    }


def link_call(
    request_id: str, target: str, aliases: Sequence[str], *, logged: str = "", version_id: str = ""
) -> dict[str, Any]:
    """The record of a LINK call: of the version that a LOG call (its request id) makes, or of another one."""
    return {
        "call": LINK,
        "what": target,
        "request_id": request_id,
        "logged": logged,
        "version_id": version_id,
        "target": target,
        "aliases": list(aliases),
    }


def staged_references(references: Sequence[records.FileEntry]) -> list[dict[str, Any]]:
    """References as a stage keeps them."""
    return [{"path": one.path, "size": one.size, "uri": one.uri, "tag": one.tag} for one in references]


class ArtifactCalls:
    """Logs, links and uses versions as records say, each with the request id of its record.

    So a call that is repeated after an interruption has no second effect.
    """

    def __init__(self, connection: Connection, run: records.RunRecord, folder: RunFolder) -> None:
        self.done = 0
        self.refused = 0
        self._connection = connection
        self._run = run
        self._folder = folder
        self._versions: dict[str, str] = {}
        """Ids of the versions that were made, by request id: a full disk may not have recorded them."""

    def repeat(self, content: Mapping[str, Any]) -> None:
        """Makes the call of a record. One that the server refuses is reported and counted.

        Errors: CommError of calls that may succeed later.
        """
        try:
            self.make(content)
        except REFUSALS as error:
            if is_retryable(error):
                raise
            self.refused += 1
            terminal.termwarn(f"{content['call']} of {content['what']} was refused: {error}")
        else:
            self.done += 1

    def make(self, content: Mapping[str, Any], **how: Any) -> Made | None:
        """Makes the call of a record; `how` is for `transfer.upload`. None where it logged nothing now.

        Errors: REFUSALS, and CommErrors of calls that may succeed later.
        """
        if content["call"] == LOG:
            return self._log(content, how)
        if content["call"] == LINK:
            self._link(content)
        else:
            self._use(content)
        return None

    def version_of(self, request_id: str) -> str:
        """The version that a LOG call has made; empty where it has not."""
        return self._versions.get(request_id) or Stage(self._folder.stages / request_id).version_id

    def _log(self, content: Mapping[str, Any], how: Mapping[str, Any]) -> Made | None:
        stage = Stage(self._folder.stages / content["request_id"])
        if stage.version_id:
            return None
        files = stage.files()
        header = transfer.NewVersion(
            **content["header"],
            entity=self._run.entity,
            project=self._run.project,
            type=self._type_of(content),
            run_id=self._run.id,
            base_version_id=content["base"] or self._newest(content, stage),
        )
        references = [records.FileEntry(**entry) for entry in stage.references()]
        version, created = transfer.upload(
            self._connection, header, files, references=references, request_id=content["request_id"], **how
        )
        self._versions[content["request_id"]] = version.id
        stage.keep_version(version.id)
        return Made(messages.version(version), created)

    def _type_of(self, content: Mapping[str, Any]) -> str:
        """The type of a version; a model takes that of its name, which may be of another kind of model."""
        wanted = str(content["type"])
        if not content["is_model"]:
            return wanted
        ref = f"{self._run.entity}/{self._run.project}/{content['header']['name']}"
        known = collection_calls.find_artifact(self._connection, ref)
        if known is not None and "model" not in known.type:
            raise ValueError(f"the name holds artifacts of type {known.type!r}, not models")
        return known.type if known else wanted

    def _newest(self, content: Mapping[str, Any], stage: Stage) -> str:
        """The version that an incremental one starts from; the same when the call is repeated."""
        if not content["incremental"]:
            return ""
        kept = stage.base_id
        if kept is None:
            ref = f"{self._run.entity}/{self._run.project}/{content['header']['name']}:{refs.LATEST}"
            newest = version_calls.find_version(self._connection, ref)
            kept = newest.id if newest else ""
            stage.keep_base(kept)
        return kept

    def _link(self, content: Mapping[str, Any]) -> None:
        version_id = content["version_id"] or self.version_of(content["logged"])
        if not version_id:
            raise ValueError("its version could not be logged")
        target = refs.link_target(content["target"], self._run.entity)
        version_calls.link(
            self._connection, version_id, target, content["aliases"], request_id=content["request_id"]
        )

    def _use(self, content: Mapping[str, Any]) -> None:
        version_calls.use(
            self._connection,
            self._run.id,
            content["version_id"],
            content["use_as"],
            request_id=content["request_id"],
        )
