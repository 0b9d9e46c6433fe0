"""Time limits on streams whose client neither sends nor reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from modelyard.contract import errors

T = TypeVar("T")


async def received(messages: AsyncIterator[T], seconds: float) -> AsyncIterator[T]:
    """Yields the client's messages. Raises StreamStalled when the next takes longer than `seconds`.

    The limit covers only the wait for the client, not what the server does between two messages.
    """
    source = aiter(messages)
    while True:
        try:
            async with asyncio.timeout(seconds):
                message = await anext(source, None)
        except TimeoutError:
            raise errors.StreamStalled(
                f"nothing was sent for {seconds:g} s; repeat the call; end a stream that has no more"
            ) from None
        if message is None:
            return
        yield message
        del message  # do not hold it while waiting for the next


async def sent(sending: Awaitable[None], seconds: float) -> None:
    """Waits until a reply is sent. Raises StreamStalled when the client does not take it in `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await sending
    except TimeoutError:
        raise errors.StreamStalled(
            f"nothing was read for {seconds:g} s; repeat the call from where reading stopped"
        ) from None
