"""What the applications behind the HTTP port share: ASGI's types, headers, whole responses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from modelyard.contract import errors

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[str, str]]
"""Pairs with lower-case names."""

SAFE_METHODS = {"GET", "HEAD"}
SESSION = "session"
"""Key of a scope: the token of the session in the request's cookie, once the request was checked."""


class Disconnected(Exception):
    """The client has closed the connection."""


def headers_of(scope: Scope) -> Headers:
    """The headers of a request."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]


def first(headers: Headers, name: str) -> str:
    """The first value of a header; empty without one."""
    return next((value for key, value in headers if key == name), "")


def matches_etag(headers: Headers, etag: str) -> bool:
    """Whether `if-none-match` names this etag: the client has the content already."""
    named = [one.strip().removeprefix("W/") for one in first(headers, "if-none-match").split(",")]
    return etag in named or "*" in named


async def begin(send: Send, status: int, headers: Headers) -> None:
    """Sends the head of a response."""
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def answer(send: Send, status: int, body: bytes, headers: Headers, *, is_head: bool = False) -> None:
    """Sends a whole response; for HEAD without its body."""
    await begin(send, status, [*headers, ("content-length", str(len(body)))])
    await send({"type": "http.response.body", "body": b"" if is_head else body})


async def answer_text(send: Send, status: int, text: str, headers: Headers | None = None) -> None:
    """Sends one line of plain text."""
    plain = ("content-type", "text/plain; charset=utf-8")
    await answer(send, status, f"{text}\n".encode(), [plain, *(headers or [])])


async def answer_json(send: Send, status: int, content: object, headers: Headers | None = None) -> None:
    """Sends a value as JSON, which is never kept by caches."""
    kind = [("content-type", "application/json"), ("cache-control", "no-store")]
    await answer(send, status, json.dumps(content).encode(), [*kind, *(headers or [])])


async def body(receive: Receive, most: int) -> bytes:
    """The whole body of a request. Raises InvalidField beyond `most` bytes, Disconnected."""
    found = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise Disconnected
        found += event.get("body", b"")
        if len(found) > most:
            raise errors.InvalidField(f"the body is larger than {most:,} bytes")
        if not event.get("more_body"):
            return bytes(found)


@contextlib.asynccontextmanager
async def until_disconnected(receive: Receive) -> AsyncIterator[None]:
    """Cancels the block when the client disconnects, and then raises Disconnected.

    The request's body must have been received.
    """
    task = asyncio.current_task()
    assert task is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        task.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if not has_left:
            raise
        task.uncancel()
        raise Disconnected from None
    finally:
        watching.cancel()
