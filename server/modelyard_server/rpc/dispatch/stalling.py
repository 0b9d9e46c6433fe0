"""Streams that make no progress end: a client that sends nothing, or does not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from modelyard.contract import errors

T = TypeVar("T")


async def arriving(messages: AsyncIterator[T], seconds: float) -> AsyncIterator[T]:
    """The client's messages. Raises StreamStalled when the next takes longer than `seconds`.

    Only the wait for the client counts, not what the server does between two messages.
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
        del message  # not held while the next is waited for


async def send(context: Any, reply: Any, seconds: float) -> None:
    """Sends a reply. Raises StreamStalled when the client does not take it within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await context.write(reply)
    except TimeoutError:
        raise errors.StreamStalled(
            f"nothing was read for {seconds:g} s; repeat the call from where reading stopped"
        ) from None
