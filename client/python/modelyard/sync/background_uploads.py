"""Makes the calls about artifacts of a run in a thread of their own, while the run goes on.

Each call is recorded in the run's folder before it waits here, with copies of its files.
So a killed process loses none: `modelyard sync` makes what is left.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelyard.contract import errors, refs
from modelyard.host import forking, terminal
from modelyard.host.cancellation import Cancellation
from modelyard.rpc import records, version_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import GIVE_UP_SECONDS, Backoff, is_retryable
from modelyard.spool import pending_versions
from modelyard.spool.folders import RunFolder
from modelyard.spool.staging import Stage
from modelyard.sync import artifact_calls
from modelyard.sync.artifact_calls import ArtifactCalls, Made
from modelyard.sync.sender import warn_away
from modelyard.transfer import progress as progress_display
from modelyard.transfer import transfer

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
"""Seconds between attempts while the server is away; each of them tries for a minute."""
_LOOK_SECONDS = 0.1
_log = logging.getLogger(__name__)


class Upload:
    """A call that waits to be made, or is being made."""

    def __init__(
        self,
        uploads: BackgroundUploads,
        content: Mapping[str, Any],
        names: Sequence[str],
        size: int,
        begun: transfer.Begun | None,
    ) -> None:
        self.content = content
        self.names = names
        self.size = size
        self.begun = begun
        self.version: records.Version | None = None
        self.error: Exception | None = None
        self.ended = threading.Event()
        self._uploads = uploads

    def __deepcopy__(self, memo: dict[int, Any]) -> Upload:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return UploadElsewhere, self._elsewhere()

    @property
    def is_committed(self) -> bool:
        """Whether the version is known."""
        if self._uploads.is_own:
            return self.version is not None
        return UploadElsewhere(*self._elsewhere()).is_committed

    def wait(self, timeout: float | None = None, *, patient: bool = True) -> records.Version:
        """The version, once it is committed.

        Errors: WaitTimeoutError after `timeout` seconds, what the server refused, and
        unless `patient` the CommError of a server that was away for a minute.
        """
        if not self._uploads.is_own:
            return UploadElsewhere(*self._elsewhere()).wait(timeout)
        self._await(timeout, patient=patient)
        if self.error is not None:
            raise self.error
        assert self.version is not None
        return self.version

    def wait_for_lookup(self) -> None:
        """Returns when it is made or refused. Errors: CommError of a server that was away for a minute."""
        if self._uploads.is_own:
            self._await(None, patient=False)
        else:
            UploadElsewhere(*self._elsewhere()).wait_for_lookup()

    def _await(self, timeout: float | None, *, patient: bool) -> None:
        since = time.monotonic()
        while not self.ended.wait(_step(since, timeout)):
            _check_timeout(self.content["what"], since, timeout)
            if not patient:
                self._uploads.check_not_away(since)

    def _elsewhere(self) -> tuple[Any, ...]:
        folder = self._uploads.folder.path
        return self._uploads.connection, folder, self.content["request_id"], self.content["what"]


class UploadElsewhere:
    """An upload of another process of this machine: the one that this was forked or spawned by."""

    def __init__(self, connection: Connection, folder: Path, request_id: str, what: str) -> None:
        self._connection = connection
        self._folder = RunFolder(folder)
        self._stage = Stage(self._folder.stages / request_id)
        self._what = what
        self._arguments = connection, folder, request_id, what

    def __reduce__(self) -> tuple[Any, ...]:
        return UploadElsewhere, self._arguments

    @property
    def is_committed(self) -> bool:
        """Whether the version is known."""
        return bool(self._stage.version_id)

    def wait(self, timeout: float | None = None, *, patient: bool = True) -> records.Version:
        """As `Upload.wait`. Errors: also CommError when the other process has ended without sending it."""
        since = time.monotonic()
        while not (version_id := self._stage.version_id):
            if not self._is_waiting():
                raise errors.CommError(
                    f"{self._what} was not logged: {self._stage.refusal or 'its process has ended'}"
                )
            _check_timeout(self._what, since, timeout)
            time.sleep(_step(since, timeout))
        return version_calls.version_by_id(self._connection, version_id)

    def wait_for_lookup(self) -> None:
        """Returns when the other process has made it, was refused, or has ended."""
        while self._is_waiting():
            time.sleep(_LOOK_SECONDS)

    def _is_waiting(self) -> bool:
        return bool(self._stage.call) and not self._stage.refusal and self._folder.is_logged_to()


class BackgroundUploads:
    """The calls of one run that wait, and the thread that makes them in their order.

    While the server is away it tries again, and nothing is lost. A call that is refused
    is reported at once; its files are kept, and `modelyard sync` tries it again.
    `made` is called with each call that was made.
    """

    def __init__(
        self,
        connection: Connection,
        run: records.RunRecord,
        folder: RunFolder,
        *,
        cache: Callable[[], transfer.Cache],
        made: Callable[[Mapping[str, Any], Made | None], None],
    ) -> None:
        self.connection = connection
        self.folder = folder
        self.pid = os.getpid()
        self.refused: list[Upload] = []
        self.last_error: errors.CommError | None = None
        """Of the last attempt, while the server is away."""
        self.progress = 0
        """Grows with everything that is sent."""
        self._run = run
        self._calls = ArtifactCalls(connection, run, folder)
        self._cache = cache
        self._made = made
        self._lock = forking.lock()
        self._queue: list[Upload] = []
        self._number = 0
        self._sent = 0
        self._progressed = 0.0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopped = False
        self._cancellation = Cancellation()
        self._given_up: list[Upload] = []

    @property
    def left(self) -> list[Upload]:
        """What was refused, or not made before `finish` gave up."""
        return [*self.refused, *(upload for upload in self._given_up if upload.error is not None)]

    @property
    def is_own(self) -> bool:
        """Whether this process sends them; a forked child does not."""
        return os.getpid() == self.pid

    @property
    def waiting(self) -> list[Upload]:
        """What was not made yet, without what was refused."""
        with self._lock:
            return list(self._queue)

    @property
    def bytes_left(self) -> int:
        """How many bytes wait."""
        return max(0, sum(upload.size for upload in self.waiting) - self._sent)

    def type_of(self, name: str) -> str | None:
        """The type of the version of a name that waits; None when there is none."""
        for upload in reversed(self.waiting):
            if upload.content["call"] == artifact_calls.LOG and upload.content["header"]["name"] == name:
                return str(upload.content["type"])
        return None

    def stage(self, request_id: str) -> Stage:
        """The place for the files of a call."""
        return Stage(self.folder.stages / request_id)

    def add(
        self, content: Mapping[str, Any], *, size: int = 0, begun: transfer.Begun | None = None
    ) -> Upload:
        """Records a call, whose files are staged under its request id, and has it made. Errors: OSError."""
        with self._lock:
            self._number += 1
            content = {**content, "number": self._number}
            self.stage(content["request_id"]).keep_call(content)
            upload = Upload(self, content, self._names(content), size, begun)
            pending_versions.add(self.connection.address, upload.names, upload.wait_for_lookup)
            self._queue.append(upload)
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="modelyard-uploads", daemon=True)
                self._thread.start()
        return upload

    def check_not_away(self, since: float) -> None:
        """Raises the last error if the server has been away for a minute, and since then."""
        error = self.last_error
        if error is not None and time.monotonic() - max(since, self._progressed) > GIVE_UP_SECONDS:
            raise error

    def finish(self, seconds: float, waiting: Callable[[float], None], *, at_most: float = math.inf) -> bool:
        """Waits until all calls are made or refused; returns whether they are.

        It gives up after `seconds` without progress, and after `at_most`. Where no bar can be
        shown, `waiting` is called about ten times a second with how long it has waited.
        """
        if not self.waiting:
            return True
        self._wake.set()
        left = self.bytes_left
        display = progress_display.automatic()
        display.start("upload", left)
        try:
            return self._await_all(seconds, at_most, waiting, _Remainder(display, left))
        finally:
            display.close()

    def _await_all(
        self, seconds: float, at_most: float, waiting: Callable[[float], None], shown: _Remainder
    ) -> bool:
        began = since = time.monotonic()
        progress = self.progress
        while self.waiting:
            now = time.monotonic()
            if progress != self.progress:
                progress, since = self.progress, now
            if now - since > seconds or now - began > at_most:
                self._stop()
                return False
            shown.update(self.bytes_left)
            if not shown.is_visible:
                waiting(now - began)
            time.sleep(_LOOK_SECONDS)
        return True

    def _names(self, content: Mapping[str, Any]) -> list[str]:
        if content["call"] == artifact_calls.LINK:
            return [refs.link_target(content["target"], self._run.entity)]
        return [f"{self._run.entity}/{self._run.project}/{content['header']['name']}", self._run.id]

    def _stop(self) -> None:
        self._stopped = True
        self._wake.set()
        self._cancellation.cancel()
        remedy = f"this sends it: modelyard sync {self.folder.path}"
        self._given_up = self.waiting
        for upload in self._given_up:
            self._end(upload, errors.CommError(f"{upload.content['what']} is not sent yet; {remedy}"))

    def _send_all(self) -> None:
        with pending_versions.sending(), self._cancellation.applied():
            while (upload := self._next()) is not None:
                try:
                    self._send(upload)
                except Exception as error:  # a defect of this code must not end the thread
                    _log.info("an upload of run %s failed", self._run.run_id, exc_info=True)
                    if upload not in self.refused:
                        self.refused.append(upload)
                    self._end(upload, errors.CommError(f"{type(error).__name__}: {error}"))

    def _next(self) -> Upload | None:
        with self._lock:
            if self._stopped or not self._queue:
                self._thread = None
                return None
            return self._queue[0]

    def _send(self, upload: Upload) -> None:
        backoff = Backoff(first=_FIRST_PAUSE, longest=_LONGEST_PAUSE, give_up=math.inf)
        while not self._stopped:
            try:
                self._make(upload)
            except Exception as error:
                if self._stopped:  # `modelyard sync` may be making it
                    return
                if not isinstance(error, errors.CommError) or not is_retryable(error):
                    self._refuse(upload, error)
                    return
                self._keep_for_retry(error)
                self._wake.wait(backoff.next(error.retry_delay))
                self._wake.clear()
            else:
                return

    def _make(self, upload: Upload) -> None:
        self._sent = 0
        how: dict[str, Any] = {}
        if upload.content["call"] == artifact_calls.LOG:
            how = {"progress": _Meter(self), "cache": self._cache(), "copied": upload.begun}
        made = self._calls.make(upload.content, **how)
        if made is None and upload.content["call"] == artifact_calls.LOG:
            made = self._made_elsewhere(upload)
        self.advance(0)
        self._made(upload.content, made)
        self.stage(upload.content["request_id"]).finish(made.version.id if made else "")
        upload.version = made.version if made else None
        self._end(upload, None)

    def _made_elsewhere(self, upload: Upload) -> Made:
        """The version of a call that `modelyard sync` has made, which may happen where there are no locks."""
        version_id = self.stage(upload.content["request_id"]).version_id
        return Made(version_calls.version_by_id(self.connection, version_id), created=False)

    def advance(self, done: int) -> None:
        """Bytes of the present call were sent."""
        self.progress += 1
        self._sent += done
        self._progressed = time.monotonic()
        self.last_error = None

    def restart(self) -> None:
        """The present call begins again with its first byte."""
        self._sent = 0

    def _keep_for_retry(self, error: errors.CommError) -> None:
        warn_away(error)
        self.last_error = error

    def _refuse(self, upload: Upload, error: Exception) -> None:
        if not isinstance(error, artifact_calls.REFUSALS):  # a defect of this code must not end the thread
            _log.info("an upload of run %s failed", self._run.run_id, exc_info=True)
            error = errors.CommError(f"{type(error).__name__}: {error}")
        stage = self.stage(upload.content["request_id"])
        stage.keep_refusal(str(error))
        self.refused.append(upload)
        terminal.termwarn(
            f"{upload.content['call']} of {upload.content['what']} was refused: {error}. It is kept in "
            f"{stage.folder}; this tries again: modelyard sync {self.folder.path}"
        )
        self._end(upload, error)

    def _end(self, upload: Upload, error: Exception | None) -> None:
        with self._lock:
            if upload in self._queue:
                self._queue.remove(upload)
            self._sent = 0
        if not upload.ended.is_set() or error is None:
            upload.error = error
        upload.begun = None
        upload.ended.set()
        pending_versions.remove(self.connection.address, upload.names, upload.wait_for_lookup)


class _Remainder:
    """Shows how many bytes are left."""

    def __init__(self, display: transfer.Progress, left: int) -> None:
        self._display = display
        self._left = left

    @property
    def is_visible(self) -> bool:
        return self._display is not transfer.SILENT

    def update(self, left: int) -> None:
        if left < self._left:  # more again when an upload begins anew
            self._display.advance(self._left - left)
            self._left = left


class _Meter:
    """Counts what one attempt sends."""

    def __init__(self, uploads: BackgroundUploads) -> None:
        self._uploads = uploads

    def start(self, verb: str, total: int) -> None:
        self._uploads.restart()

    def advance(self, done: int, already: int = 0) -> None:
        self._uploads.advance(done)

    def close(self) -> None:
        pass


def _step(since: float, timeout: float | None) -> float:
    if timeout is None:
        return _LOOK_SECONDS
    return max(0.0, min(_LOOK_SECONDS, since + timeout - time.monotonic()))


def _check_timeout(what: str, since: float, timeout: float | None) -> None:
    if timeout is not None and time.monotonic() - since >= timeout:
        raise errors.WaitTimeoutError(f"{what} is still being uploaded after {timeout:g} s")
