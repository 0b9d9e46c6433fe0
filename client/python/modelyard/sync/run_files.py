"""Sends the files of runs that FILE records name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.host.local_files import LocalFile
from modelyard.rpc.connection import Connection
from modelyard.sync.destination import Destination, is_refusal
from modelyard.sync.record_drain import Batch
from modelyard.transfer.run_file_upload import OneRun, RunFileUpload, Status, status_of

BATCH_FILES = 1_000
BATCH_BYTES = 32 << 20
"""About the most that is committed together; a larger file is committed alone."""


class _File(NamedTuple):
    """A file that is sent, and its size and time before it is read."""

    path: str
    source: str
    status: Status


class RunFileSender:
    """Sends the files that FILE records name, with the content that they have then.

    Sending one again replaces it by itself. A file with the policy `end` is sent by
    `rest`, and so is one with `live` that has changed since it was sent. `watched` is
    what `state` returned in a process that went before. Files of one writer that are
    saved again before they are sent are sent once.
    """

    def __init__(
        self,
        connection: Connection,
        destination: Destination,
        owner: tuple[str, str],
        folder: Path,
        watched: Mapping[str, Any] | None = None,
    ) -> None:
        """`owner` is the entity and the project of the run; sources in its `folder` are relative to that."""
        run = OneRun(destination.run_id, destination.attempt, *owner)
        self._upload = RunFileUpload(connection, run, lambda: self._progressed())
        self._folder = folder
        self._watched: dict[str, Any] = dict(watched or {})
        """Source and last sent status of files with the policies `live` and `end`, by path."""
        self._progressed: Callable[[], None] = lambda: None

    def on_progress(self, progressed: Callable[[], None]) -> None:
        """Calls `progressed` with each part of a file that is sent."""
        self._progressed = progressed

    def batches(self, contents: Batch) -> Iterator[Batch]:
        """The files to be sent now, as many together as one commit takes."""
        batch: list[Mapping[str, Any]] = []
        size = 0
        for recorded in {content["path"]: content for content in contents}.values():
            content = {**recorded, "source": os.path.join(self._folder, recorded["source"])}
            self._watch(content)
            if content["policy"] == "end":
                continue
            found = status_of(content["source"])
            more = found[0] if found else 0
            if batch and (size + more > BATCH_BYTES or len(batch) == BATCH_FILES):
                yield batch
                batch, size = [], 0
            batch.append(content)
            size += more
        if batch:
            yield batch

    def send(self, batch: Batch) -> None:
        """Sends files. One that cannot be sent is named in a warning. Errors: CommError but refusals."""
        files = [file for file in map(_found, batch) if file is not None]
        self._send(files)
        for file in files:
            if file.path in self._watched:
                self._watched[file.path]["sent"] = list(file.status)

    def rest(self) -> Batch:
        """The watched files that have changed since they were sent, or were not sent yet."""
        changed = []
        for path, kept in self._watched.items():
            status = status_of(kept["source"])
            # One that was sent and removed since stays as it was.
            if not kept["sent"] or (status is not None and list(status) != kept["sent"]):
                changed.append({"path": path, "source": kept["source"], "policy": "live"})
        return changed

    def state(self) -> Mapping[str, Any]:
        """The watched files."""
        return {"watched": self._watched}

    def close(self) -> None:
        """Ends the upload on the server."""
        self._upload.close()

    def cancel(self) -> None:
        """Ends a `send` that runs soon, with an error, from another thread."""
        self._upload.cancel()

    def _watch(self, content: Mapping[str, Any]) -> None:
        path, policy = content["path"], content["policy"]
        known = self._watched.pop(path, None)
        if policy == "now":
            return
        sent = known["sent"] if known and known["source"] == content["source"] else None
        self._watched[path] = {"source": content["source"], "sent": sent}

    def _send(self, files: Sequence[_File]) -> None:
        """Sends files together; where that is refused, halves of them, until the one is found."""
        if not files:
            return
        try:
            self._upload.send([LocalFile(file.path, file.source) for file in files])
        except (errors.Error, OSError) as error:
            if isinstance(error, errors.CommError) and not is_refusal(error):
                raise
            if len(files) > 1:
                self._send(files[: len(files) // 2])
                self._send(files[len(files) // 2 :])
            else:
                _warn(files[0].path, str(error))


def _found(content: Mapping[str, Any]) -> _File | None:
    """The file of a record in its present state; None with a warning where there is none."""
    path, source = content["path"], content["source"]
    status = status_of(source)
    if status is None:
        why = "is no regular file" if os.path.lexists(source) else "does not exist any more"
        _warn(path, f"{source} {why}")
        return None
    return _File(path, source, status)


def _warn(path: str, why: str) -> None:
    terminal.warn_once(f"file {path}", f"the file {path} is not sent: {why}")
