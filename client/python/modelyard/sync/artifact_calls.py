"""Repeats the calls about artifacts that a run recorded while it was offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.contract import errors, refs
from modelyard.host import terminal
from modelyard.rpc import collection_calls, records, version_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import is_retryable
from modelyard.spool.folders import RunFolder
from modelyard.spool.staging import Stage
from modelyard.transfer import transfer

LOG, LINK, USE = "log", "link", "use"


class ArtifactCalls:
    """Logs, links and uses versions as ARTIFACT records say, each with the request id of its record.

    So a call that is repeated after an interruption has no second effect. One that the
    server refuses is reported and counted, and the others go on.
    """

    def __init__(self, connection: Connection, run: records.RunRecord, folder: RunFolder) -> None:
        self.done = 0
        self.refused = 0
        self._connection = connection
        self._run = run
        self._folder = folder

    def repeat(self, content: Mapping[str, Any]) -> None:
        """Makes the call of a record. Errors: CommError of calls that may succeed later."""
        calls = {LOG: self._log, LINK: self._link, USE: self._use}
        try:
            calls[content["call"]](content)
        except (errors.Error, AssertionError, ValueError, OSError) as error:
            if isinstance(error, errors.CommError) and is_retryable(error):
                raise
            self.refused += 1
            terminal.termwarn(f"{content['call']} of {content['what']} was refused: {error}")
        else:
            self.done += 1

    def _log(self, content: Mapping[str, Any]) -> None:
        stage = Stage(self._folder.stages / content["request_id"])
        if stage.version_id:
            return
        header = transfer.NewVersion(
            **content["header"],
            entity=self._run.entity,
            project=self._run.project,
            type=self._type_of(content),
            run_id=self._run.id,
            base_version_id=content["base"] or self._newest(content),
        )
        references = [records.FileEntry(**entry) for entry in stage.references()]
        version, _ = transfer.upload(
            self._connection, header, stage.files(), references=references, request_id=content["request_id"]
        )
        stage.keep_version(version.id)

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

    def _newest(self, content: Mapping[str, Any]) -> str:
        if not content["incremental"]:
            return ""
        ref = f"{self._run.entity}/{self._run.project}/{content['header']['name']}:{refs.LATEST}"
        newest = version_calls.find_version(self._connection, ref)
        return newest.id if newest else ""

    def _link(self, content: Mapping[str, Any]) -> None:
        version_id = content["version_id"] or Stage(self._folder.stages / content["logged"]).version_id
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
