"""A thread that sends large things of a run, so that they do not hold up its rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.host.cancellation import Cancellation
from modelyard.rpc.retry import is_retryable
from modelyard.sync.record_drain import RecordDrain

TURN_SECONDS = 1.0

_log = logging.getLogger(__name__)


class UploadThread(threading.Thread):
    """Drains one kind of spools about once a second, until the run ends and everything is sent.

    Started and ended by the `Sender` of the run, which has the right to send. While the
    server cannot be reached, records stay in their files; the sender of the rows says
    so. No error ends the thread. `what` is one of the things that are sent, for messages.
    """

    def __init__(self, drain: RecordDrain, what: str) -> None:
        super().__init__(name=f"modelyard-{what}s", daemon=True)
        self.last_error: errors.CommError | None = None
        self.is_refused = False
        """Whether the server refuses, in the end of the run, what it will refuse again, such as a key."""
        self.what = what
        self.is_done = False
        """Whether everything is sent, after `finish`."""
        self._drain = drain
        self._wake = threading.Event()
        self._finishing = False
        self._cancellation = Cancellation()
        self._ended: Callable[[], None] = lambda: None

    @property
    def progress(self) -> int:
        """Grows with everything that is sent."""
        return self._drain.progress

    @property
    def unsent(self) -> int:
        """How many things of this process wait."""
        return self._drain.unsent

    def run(self) -> None:
        """Sends until the run ended and everything is sent, or `abandon` was called."""
        with self._cancellation.applied():
            while not (self.is_done or self._cancellation.is_cancelled):
                self._wake.wait(TURN_SECONDS)
                self._wake.clear()
                self._take_turn()
        self._ended()

    def finish(self, ended: Callable[[], None]) -> None:
        """Sends the rest and ends; `ended` is called then, by this thread."""
        self._ended = ended
        self._finishing = True
        self._wake.set()

    def abandon(self) -> None:
        """Ends soon, whatever is left."""
        self._cancellation.cancel()
        self._drain.cancel()
        self._wake.set()

    def _take_turn(self) -> None:
        finishing = self._finishing  # before it reads: what is recorded later is in a later turn
        try:
            self._send(finishing)
        except errors.CommError as error:
            self._keep_for_retry(error, finishing)
        except Exception as error:  # a defect of this code must not end the thread
            _log.info("a turn of %s failed", self.name, exc_info=True)
            self._keep_for_retry(errors.CommError(f"{type(error).__name__}: {error}"), finishing)
        else:
            self.last_error = None
            self.is_done = finishing

    def _send(self, finishing: bool) -> None:
        try:
            self._drain.turn(final=finishing)
        except (errors.NotFound, errors.RunFinished):  # the sender of the rows says so
            self._drain.drop_all()

    def _keep_for_retry(self, error: errors.CommError, finishing: bool) -> None:
        if self._cancellation.is_cancelled:
            return
        if not is_retryable(error) and self.last_error is None:
            terminal.termwarn(f"{self.what}s of the run wait: {error}", repeat=False)
        self.is_refused = finishing and not is_retryable(error)
        self.last_error = error
