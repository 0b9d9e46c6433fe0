"""Threads for work that blocks: one pool a kind, so that a slow store never delays a database query."""

from __future__ import annotations

from concurrent.futures import Executor

from modelyard_server.observability import telemetry
from modelyard_server.rpc.dispatch.lookup_thread import LookupThread

SQLITE_READERS = 4
SQLITE_CONNECTIONS = SQLITE_READERS + 1
"""Reading connections: one a reader, and one for the lookup thread."""
POSTGRESQL_CONNECTIONS = 8
STORE_THREADS = 8
HASH_THREADS = 2


class Executors:
    """The thread pools of a process.

    `lookups` is None with PostgreSQL: a query over the network is better spread over several threads.
    """

    def __init__(self, *, is_sqlite: bool) -> None:
        self.lookups: LookupThread | None = None
        if is_sqlite:
            self.lookups = LookupThread("database-lookups")
            self.reads: Executor = telemetry.threads("database-reads", SQLITE_READERS)
            # SQLite has one writer: writes queue on one thread, where they do not block readers.
            self.writes: Executor = telemetry.threads("database-writes", 1)
        else:
            self.reads = self.writes = telemetry.threads("database", POSTGRESQL_CONNECTIONS)
        self.store: Executor = telemetry.threads("store", STORE_THREADS)
        self.hashing: Executor = telemetry.threads("hashing", HASH_THREADS)
        self.decoding: Executor = telemetry.threads("decoding", 1)

    def close(self) -> None:
        """Waits for running work and ends the threads."""
        if self.lookups is not None:
            self.lookups.close()
        for pool in (self.reads, self.writes, self.store, self.hashing, self.decoding):
            pool.shutdown(wait=True, cancel_futures=False)
