"""Sends files of runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import is_retryable
from modelyard.sync.destination import Destination
from modelyard.v1 import run_file_pb2, run_pb2

MESSAGE_BYTES = 1 << 20
HEARTBEAT_SECONDS = 15.0


class RunFileSender:
    """Sends the files that FILE records name, with the content that they have then.

    Sending one again replaces it by itself. `with_end`: whether files are sent too that
    are to be sent at the end of the run.
    """

    def __init__(self, connection: Connection, destination: Destination, *, with_end: bool) -> None:
        self._connection = connection
        self._destination = destination
        self._with_end = with_end
        self._progressed: Callable[[], None] = lambda: None

    def on_progress(self, progressed: Callable[[], None]) -> None:
        """Calls `progressed` with each part of a file that is sent."""
        self._progressed = progressed

    def send(self, content: Mapping[str, Any]) -> None:
        """Sends a file. Errors: CommError of calls that may succeed later, NotFound, RunFinished."""
        if not (content["now"] or self._with_end):
            return
        try:
            with open(content["source"], "rb") as file:
                self._upload(file, content["path"])
        except (errors.NotFound, errors.RunFinished):
            raise
        except (errors.CommError, OSError) as error:
            if is_retryable(error):
                raise
            terminal.warn_once(f"file {content['path']}", f"the file {content['path']} is not sent: {error}")

    def _upload(self, file: BinaryIO, path: str) -> None:
        failed: list[OSError] = []
        try:
            self._connection.run_files.UploadRunFile(self._messages(file, path, failed))
        except errors.CommError as error:
            # gRPC cancels a call whose requests fail, and does not say why.
            raise (failed[0] if failed else error) from None

    def _messages(
        self, file: BinaryIO, path: str, failed: list[OSError]
    ) -> Iterator[run_file_pb2.UploadRunFileRequest]:
        header = run_file_pb2.RunFileHeader(
            run_id=self._destination.run_id, path=path, attempt=self._destination.attempt
        )
        yield run_file_pb2.UploadRunFileRequest(header=header)
        last = time.monotonic()
        try:
            while data := file.read(MESSAGE_BYTES):
                yield run_file_pb2.UploadRunFileRequest(data=data)
                self._progressed()
                if time.monotonic() - last > HEARTBEAT_SECONDS and not self._destination.late:
                    last = time.monotonic()
                    heartbeat = run_pb2.HeartbeatRunRequest(id=self._destination.run_id)
                    self._connection.runs.HeartbeatRun(heartbeat)
        except OSError as error:
            failed.append(error)
            raise
