"""How long a transfer waits for a server that went away, and how often it asks."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

from modelyard.contract import errors

if TYPE_CHECKING:
    from modelyard.rpc.connection import Connection

GIVE_UP_SECONDS = 60.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0


class Retrier:
    """Waits between attempts, up to `GIVE_UP_SECONDS` without any progress.

    One is shared by the threads of a transfer. `stop` ends every wait.
    """

    def __init__(self, connection: Connection, *, give_up: float = GIVE_UP_SECONDS) -> None:
        self._connection = connection
        self._give_up = give_up
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._trouble_since: float | None = None
        self._delay = FIRST_DELAY

    def progress(self) -> None:
        """Something went through: the next trouble starts counting anew."""
        if self._trouble_since is not None:
            with self._lock:
                self._trouble_since, self._delay = None, FIRST_DELAY

    def stop(self) -> None:
        """Ends the waits of all threads."""
        self._stopped.set()

    def wait(self, error: Exception, channel: Any) -> None:
        """Sleeps before the next attempt, or raises the error when another is no use.

        Where the server could not be reached on `channel`, it is found again
        first, unless another thread has done so.
        """
        if not isinstance(error, errors.CommError):
            raise error
        moved = self._connection.may_have_moved(error)
        if not moved and not is_retryable(error):
            raise error
        with self._lock:
            now = time.monotonic()
            if self._trouble_since is None:
                self._trouble_since = now
            if now - self._trouble_since > self._give_up:
                raise error
            delay = min(max(self._delay, error.retry_delay or 0.0), LONGEST_DELAY)
            self._delay = min(self._delay * 2, LONGEST_DELAY)
        self._stopped.wait(delay * random.uniform(0.5, 1.0))
        if not self._stopped.is_set() and (
            moved or error.code == errors.ServerStopping.code or error.retry_delay is None
        ):
            self._find_server(channel)

    def _find_server(self, channel: Any) -> None:
        with self._lock:
            if self._connection.channel is not channel:
                return
            try:
                self._connection.reconnect()
            except errors.CommError as error:
                # Not there yet: the next attempt meets the same and waits longer.
                if not is_retryable(error):
                    raise


def is_retryable(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if not isinstance(error, errors.CommError):
        return False
    if error.retry_delay is not None or isinstance(error, errors.DeadlineExceeded):
        return True
    # The server always gives one of the published reasons, an INTERNAL one with an incident: a
    # bare status is the transport's word for a connection that was cut.
    bare_internal = isinstance(error, errors.InternalError) and "incident" not in error.metadata
    return type(error) is errors.CommError or bare_internal
