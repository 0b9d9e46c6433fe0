"""The thread that sends what a run logs. Training never waits for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from modelyard.contract import errors
from modelyard.host import forking, terminal, waiting
from modelyard.host.cancellation import Cancellation
from modelyard.host.file_locks import FileLock
from modelyard.rpc.connection import Connection
from modelyard.rpc.retry import is_retryable
from modelyard.sync.destination import Destination
from modelyard.sync.drain import Drain
from modelyard.sync.upload_thread import UploadThread
from modelyard.v1 import run_pb2 as pb

TURN_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
_LOOK_SECONDS = 0.1
_ABANDON_SECONDS = 2.0
"""How long `finish` waits for the thread to end, after it gave up. Cancelled calls end at once."""

_log = logging.getLogger(__name__)


def warn_away(error: errors.CommError) -> None:
    """Says, once in a run, that the server cannot be reached and what becomes of what is logged."""
    terminal.warn_once(
        "server away", f"{error}. What the run logs is kept and sent when the server can be reached"
    )


class Sender(threading.Thread):
    """Drains the spools of a run about once a second, and says that the run is alive.

    While the server cannot be reached, records stay in their files, with one
    warning. No error ends the thread. `lock` is the right to send, which it gives up
    when it ends. A `shared` run goes on after another writer has ended it. `beside`
    are threads that send what would hold up the rows; they start and end with this one.
    """

    def __init__(
        self,
        connection: Connection,
        destination: Destination,
        drain: Drain,
        *,
        lock: FileLock | None = None,
        shared: bool = False,
        beside: Sequence[UploadThread] = (),
    ) -> None:
        super().__init__(name="modelyard-sender", daemon=True)
        self.last_sent: float | None = None
        """When everything logged before was sent last, seconds since 1970."""
        self._last_error: errors.CommError | None = None
        self._beside = beside
        self._run_ended = False
        self._connection = connection
        self._destination = destination
        self._drain = drain
        self._lock = lock
        self._shared = shared
        self._last_call = time.monotonic()
        self._wake = threading.Event()
        self._finishing = False
        self._cancellation = Cancellation()
        self._finished = threading.Event()
        self._refused = False
        self._turn = forking.lock()
        self._pid = os.getpid()

    @property
    def last_error(self) -> errors.CommError | None:
        """Why what is left was not sent at the last attempt."""
        return self._last_error or next((one.last_error for one in self._beside if one.last_error), None)

    def run(self) -> None:
        """Sends until the run ended and everything is sent, or `finish` gave up."""
        for thread in self._beside:
            thread.start()
        with self._cancellation.applied():
            while not (self._finished.is_set() or self._cancellation.is_cancelled):
                self._wake.wait(TURN_SECONDS)
                self._wake.clear()
                self.flush()
        for thread in self._beside:
            thread.abandon()
        self._finished.set()
        if self._lock is not None:
            for thread in self._beside:
                thread.join()
            self._lock.release()

    def finish(self, seconds: float, report: Callable[[float], None]) -> bool:
        """Sends the rest and returns whether all is sent.

        It gives up after `seconds` without progress, and at once when the server refuses
        what it will refuse again, such as a key.

        `report` is called about ten times a second with how long it has waited.
        """
        self._finishing = True
        began = since = time.monotonic()
        progress = self._progress()
        self._wake.set()
        for thread in self._beside:
            thread.finish(self._wake.set)
        while not self._finished.wait(_LOOK_SECONDS) and self.is_alive():
            now = time.monotonic()
            if progress != self._progress():
                progress, since = self._progress(), now
            if now - since > seconds or self._refused or any(one.is_refused for one in self._beside):
                self._abandon()
                return False
            report(now - began)
        return self._finished.is_set() and not self._cancellation.is_cancelled

    def _abandon(self) -> None:
        """Ends the thread with its calls, so that `modelyard sync` may send what is left."""
        for thread in self._beside:
            thread.abandon()
        self._cancellation.cancel()
        self._wake.set()
        waiting.join(self, _ABANDON_SECONDS)

    def flush(self) -> None:
        """Sends everything logged so far. Raises nothing; the error is in `last_error`, with a warning."""
        if os.getpid() != self._pid:
            return  # a forked child only writes; its parent sends
        with self._turn:
            finishing = self._finishing  # before it reads: what is logged later is in a later turn
            try:
                self._take_turn(finishing)
            except errors.CommError as error:
                self._keep_for_retry(error)
            except Exception as error:  # a defect of this code must not end the thread
                _log.info("the sender of run %s failed", self._destination.run_id, exc_info=True)
                self._keep_for_retry(
                    errors.CommError(f"rows cannot be sent: {type(error).__name__}: {error}")
                )

    def _take_turn(self, finishing: bool) -> None:
        try:
            self._send_also_late(finishing)
        except (errors.RunFinished, errors.NotFound) as error:
            self._drop_all(error)
        else:
            self._last_error, self.last_sent = None, time.time()
            if finishing and self._is_beside_done():
                self._finished.set()

    def _send_also_late(self, finishing: bool) -> None:
        try:
            self._send(finishing)
        except errors.RunFinished:
            if not self._shared or self._destination.late:
                raise
            self._destination.late = True
            self._send(finishing)

    def _send(self, finishing: bool) -> None:
        progress = self._drain.progress
        if finishing:
            self._drain.fields.retry_refused()
        self._drain.turn(final=finishing)
        if finishing:
            self._end_run()
        elif self._drain.progress != progress:
            self._last_call = time.monotonic()
        elif time.monotonic() - self._last_call >= HEARTBEAT_SECONDS and not self._destination.late:
            run_id, attempt = self._destination.run_id, self._destination.attempt
            self._connection.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=run_id, attempt=attempt))
            self._last_call = time.monotonic()

    def _end_run(self) -> None:
        """Ends the run when all is sent; one that is killed when its rows are, since no time may be left."""
        is_killed = self._drain.finish is not None and self._drain.finish["killed"]
        if not self._run_ended and (is_killed or self._is_beside_done()):
            self._drain.end_run()
            self._run_ended = True

    def _is_beside_done(self) -> bool:
        return all(thread.is_done for thread in self._beside)

    def _progress(self) -> int:
        return self._drain.progress + sum(thread.progress for thread in self._beside)

    def _keep_for_retry(self, error: errors.CommError) -> None:
        if self._cancellation.is_cancelled and self._last_error is not None:
            return  # the cancelled call says less
        if self._last_error is None and not self._finishing:
            warn_away(error)
        self._refused = self._finishing and not is_retryable(error)
        self._last_error = error

    def _drop_all(self, error: errors.RunFinished | errors.NotFound) -> None:
        how = "ended" if isinstance(error, errors.RunFinished) else "deleted"
        terminal.termwarn(
            f"the run was {how} from outside, what it logs now is dropped: {error}", repeat=False
        )
        self._drain.drop_all()
        if self._finishing:
            self._finished.set()
