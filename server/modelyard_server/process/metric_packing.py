"""Packs metrics while they are logged: soon after a log has enough waiting batches."""

from __future__ import annotations

import asyncio
import functools
import logging

from modelyard.contract import errors
from modelyard_server.domain.series import due
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.rpc.wire import metric_batches

DELAY_SECONDS = 2.0
"""Between two rounds, so that what is logged fast is packed in large parts."""
log = logging.getLogger(__name__)


class MetricPacking:
    """Packs what is due when it is woken. Create it on the event loop."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Says that a log may be due once the current transaction is committed. From any thread."""
        self._loop.call_soon_threadsafe(self._woken.set)

    async def run_forever(self) -> None:
        """Packs until it is cancelled. What a failed round leaves, the next one or the sweep finds."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(DELAY_SECONDS)
            self._woken.clear()
            try:
                await pack_due(self._transactions)
            except errors.CommError as error:
                log.warning("packing metrics failed and will be repeated: %s", error)
            except Exception:
                log.exception("packing metrics failed and will be repeated")


async def pack_due(transactions: Transactions) -> None:
    """Packs every log that is due, each until it is due no more."""
    while logs := await transactions.read(due.logs):
        # NumPy is loaded by the first log that is due.
        from modelyard_server.domain.series import packing

        passed = 0
        for log_id in logs:
            look = functools.partial(packing.pack, log_id=log_id, decode=metric_batches.decode)
            packed = await transactions.read(look)
            if packed is not None:
                passed += await transactions.write(functools.partial(packing.store, packed=packed))
        if not passed:  # another process packs them
            return
