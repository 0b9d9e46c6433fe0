"""The retry policy: which errors are worth another attempt, how long to wait before it, and when to give up.

Pauses double from `FIRST_PAUSE` to `LONGEST_PAUSE` seconds and are never shorter
than the delay that the server asks for; each is then multiplied by a random
factor between 0.5 and 1, so that clients that lost one server do not all come
back at once. The error is raised `GIVE_UP_SECONDS` after the first failure
without progress; of a unary call, which has no progress, after its start.

What is repeated, by what rule:

| what | which errors | for how long |
|---|---|---|
| a unary call (`calls`) | `asks_for_retry` | 60 s from its start |
| a part of an upload or download, a file of a run, a commit | `is_retryable` | 60 s without progress |
| the SHA-256 of files (`manifest.sha256sums`) | `is_retryable` | 60 s from the first failure |
| a scan of metrics (`metric_scan`) | `is_retryable`, until its first batch | 60 s from the first failure |
| the download of a file of a run (`public_runs.files`) | `is_retryable` | 60 s from the first failure |
| a watch (`registry.events`, `public_runs.following`) | `asks_for_retry` | until it is closed |
| fetching a reference (`transfer.reference_fetcher`) | ConnectionError, TimeoutError | three retries |
| a change of a record (`on_latest`) | EtagMismatch | ten attempts, without pauses |
| where files lie on this machine (`transfer.shared_disk_download`) | none: they are downloaded instead | |

A unary call does not repeat a missed deadline, which was a minute already, and a
watch has none. In the context of a `host.cancellation` that was cancelled, nothing is
repeated. The embedded server may have been replaced by one with a new token:
then all but the last three are also repeated after an AuthenticationError, a unary
call once.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from modelyard.contract import errors
from modelyard.host import cancellation, waiting

GIVE_UP_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
ETAG_ATTEMPTS = 10
R = TypeVar("R")
T = TypeVar("T")


def asks_for_retry(error: errors.CommError) -> bool:
    """Whether the server, or its absence, says that the same call may succeed later."""
    return error.retry_delay is not None


def is_retryable(error: Exception) -> bool:
    """Whether a call that may be repeated at no risk, such as a part of a transfer, may succeed later.

    Besides errors that ask for a retry, to which `calls` makes connections that were
    cut and streams that were given up, these are missed deadlines and other statuses
    of a transport.
    """
    if not isinstance(error, errors.CommError):
        return False
    if asks_for_retry(error) or isinstance(error, errors.DeadlineExceeded):
        return True
    # The server always sends one of the published reasons, and with INTERNAL an incident: a bare
    # status comes from what lies between. A transfer has reached its server before, so it is no wrong one.
    # A refusal for a reason that this release does not know has that reason in its metadata.
    return not error.metadata and (type(error) is errors.CommError or isinstance(error, errors.InternalError))


class StreamEndedEarly(errors.ServerStopping):
    """A stream ended without an error before it was complete; raised by the client, to repeat the call."""


class Backoff:
    """The pauses between attempts at one thing. Not safe for threads.

    It ends `give_up` seconds (by default `GIVE_UP_SECONDS`) after `start`, or without that after the
    first failure, and after `retries` failures if that is given.
    """

    def __init__(
        self,
        *,
        first: float = FIRST_PAUSE,
        longest: float = LONGEST_PAUSE,
        give_up: float | None = None,
        retries: int | None = None,
    ) -> None:
        self._first, self._longest, self._retries = first, longest, retries
        self._give_up = GIVE_UP_SECONDS if give_up is None else give_up
        self._failures = 0
        self._since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since `start`, or else since the first failure; 0 without any."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def start(self) -> None:
        """Counts the time from now on, instead of from the first failure."""
        self._since = time.monotonic()

    def reset(self) -> None:
        """Forgets all failures: there was progress."""
        self._failures, self._since = 0, None

    def next(self, least: float | None = None) -> float | None:
        """Notes a failure. Seconds to wait before the next attempt; None when it is time to give up.

        `least` is the delay that the server asks for.
        """
        if self._failures == self._retries or self.elapsed > self._give_up:
            return None
        if self._since is None:
            self.start()
        # The exponent is bounded, since a watch may fail for days.
        pause = max(min(self._first * 2.0 ** min(self._failures, 30), self._longest), least or 0.0)
        if pause > max(self._give_up, self._longest):
            return None
        self._failures += 1
        return pause * random.uniform(0.5, 1.0)


class Reconnectable(Protocol):
    """What a transfer's retries need of a connection."""

    @property
    def channel(self) -> Any:
        """The present channel; another object once the server was found elsewhere."""

    def reconnect(self) -> None:
        """Finds the server again, or starts the embedded one again."""

    def may_have_moved(self, error: errors.CommError) -> bool:
        """Whether another server may hold the address now."""


class Retrier:
    """The retries of one transfer, shared by its threads: progress of one counts for all."""

    def __init__(self, connection: Reconnectable, *, give_up: float | None = None) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._backoff = Backoff(give_up=give_up)
        self._failing = False

    def progress(self) -> None:
        """Something succeeded: the next failure starts a new backoff."""
        if self._failing:
            with self._lock:
                self._failing = False
                self._backoff.reset()

    def stop(self) -> None:
        """Ends the waits of all threads."""
        self._stopped.set()

    def run(self, call: Callable[[], T]) -> T:
        """Repeats a call until it succeeds. Errors: those of `wait`."""
        while True:
            channel = self._connection.channel
            try:
                return call()
            except errors.CommError as error:
                self.wait(error, channel)

    def wait(self, error: Exception, channel: Any) -> None:
        """Sleeps before the next attempt; raises the error when it is not retryable or it is time to give up.

        Where the server could not be reached on `channel`, it is found again
        first, unless another thread has done so.
        """
        if not isinstance(error, errors.CommError):
            raise error
        moved = self._connection.may_have_moved(error)
        if cancellation.is_cancelled() or (not moved and not is_retryable(error)):
            raise error
        with self._lock:
            pause = self._backoff.next(error.retry_delay)
            self._failing = True
        if pause is None:
            raise error
        waiting.until(self._stopped.wait, pause)
        if not self._stopped.is_set() and (
            moved or error.code == errors.ServerStopping.code or not asks_for_retry(error)
        ):
            self._find_server(channel)

    def _find_server(self, channel: Any) -> None:
        with self._lock:
            if self._connection.channel is not channel:
                return
            try:
                self._connection.reconnect()
            except errors.CommError as error:
                # Not there yet: the next attempt fails in the same way and waits longer.
                if not is_retryable(error):
                    raise


def on_latest(change: Callable[[R], T], record: R, read: Callable[[], R]) -> T:
    """Returns what `change` returns for a record, which sends the record's etag.

    Where somebody else changed the thing meanwhile, it is read and changed again.
    Errors: EtagMismatch after ten attempts, and those of `change` and `read`.
    """
    for _ in range(ETAG_ATTEMPTS - 1):
        try:
            return change(record)
        except errors.EtagMismatch:
            record = read()
    return change(record)
