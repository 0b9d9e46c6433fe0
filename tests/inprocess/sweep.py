"""The server's sweep, run at once."""

from __future__ import annotations

import asyncio

from modelyard_server.db.engine import Database
from modelyard_server.process import background
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.transactions import Transactions

MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE


def sweep(database: Database) -> None:
    """One sweep, as a server does it."""
    executors = Executors(is_sqlite=database.is_sqlite)
    try:
        asyncio.run(background.sweep(Transactions(database, executors)))
    finally:
        executors.close()
