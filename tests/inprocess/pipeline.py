"""The server's pipeline in this process: calls by their messages, without a transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from modelyard.contract.transport import bearer
from modelyard_server import app
from modelyard_server.db.engine import Database
from modelyard_server.domain.access import keys
from modelyard_server.domain.content import confirmation
from modelyard_server.observability.call_record import Metadata
from modelyard_server.packs import PackStore
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.process import storage
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.pipeline import Endpoint, Pipeline
from modelyard_server.settings import Settings, parse_location
from modelyard_server.web.page import Page

Requests = Iterable[Message | bytes] | AsyncIterator[Message | bytes]


class Replies:
    """A call whose replies are read one by one."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.arrived: asyncio.Queue[Message] = asyncio.Queue()

    async def next(self) -> Any:
        """Waits for the next reply. Raises what ended the call."""
        waiting = asyncio.ensure_future(self.arrived.get())
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            await self.task
            raise StopAsyncIteration
        return await waiting


@dataclass(frozen=True)
class InProcess:
    """Calls the pipeline as an adapter does, each call in a task of its own. Replies are messages."""

    core: app.Core
    database: Database
    packs: ConfirmedPacks
    metadata: Metadata = ()

    @property
    def pipeline(self) -> Pipeline:
        return self.core.pipeline

    def of_new_key(self, name: str, entity: str) -> InProcess:
        """The same with a key of its own, which may enter one entity."""
        text = self.database.write(lambda session: keys.create(session, name, entity))[1]
        return self.of_key(text)

    def of_key(self, text: str) -> InProcess:
        """The same with this key."""
        return replace(self, metadata=bearer(text))

    async def call(self, method: str, request: Message | bytes) -> Any:
        """The reply of a unary call."""

        async def serve() -> Message:
            endpoint = self.endpoint(method)
            caller = await self.pipeline.admit(endpoint.name, self.metadata)
            return endpoint.reply.FromString(await self.pipeline.unary(endpoint, caller, request))

        return await asyncio.create_task(serve())

    async def collect(self, method: str, requests: Requests) -> Any:
        """The reply to a stream of requests."""

        async def serve() -> Message:
            endpoint = self.endpoint(method)
            caller = await self.pipeline.admit(endpoint.name, self.metadata)
            reply = await self.pipeline.collect(endpoint, caller, _sent(requests))
            return endpoint.reply.FromString(reply)

        return await asyncio.create_task(serve())

    async def replies(self, method: str, given: Message | Requests) -> list[Any]:
        """All replies of a call."""
        open_ = self.open(method, given)
        await open_.task
        return [open_.arrived.get_nowait() for _ in range(open_.arrived.qsize())]

    def open(self, method: str, given: Message | Requests) -> Replies:
        """Begins a call with a stream of replies."""
        replies = Replies()

        async def serve() -> None:
            endpoint = self.endpoint(method)

            async def send(reply: bytes) -> None:
                await replies.arrived.put(endpoint.reply.FromString(reply))

            caller = await self.pipeline.admit(endpoint.name, self.metadata)
            request = given if isinstance(given, Message) else _sent(given)
            await self.pipeline.stream(endpoint, caller, request, send)

        replies.task = asyncio.create_task(serve())
        return replies

    def endpoint(self, method: str) -> Endpoint:
        """The endpoint of a method such as `RunService/GetRun`."""
        return self.pipeline.endpoints[f"/modelyard.v1.{method}"]


@asynccontextmanager
async def in_process(
    folder: Path, *, wrap: Callable[[PackStore], PackStore] = lambda store: store, **options: Any
) -> AsyncIterator[InProcess]:
    """The pipeline over a data folder, with options of `Settings`; `wrap` wraps its store."""
    settings = Settings(parse_location(folder, None, None), **options)
    folder.mkdir(exist_ok=True)
    database = storage.open_database(settings.location)
    store = wrap(storage.open_store(settings.location))
    packs = ConfirmedPacks(store, storage.require_same_store(database, store))
    confirmation.set_confirmed_packs(database, packs)
    executors = Executors(is_sqlite=True)
    core = app.build(settings, database, packs, executors, Page(settings), folder_token="")
    try:
        yield InProcess(core, database, packs)
    finally:
        await core.writer.drain()
        executors.close()
        database.close()


async def _sent(requests: Requests) -> AsyncIterator[Message | bytes]:
    if isinstance(requests, AsyncIterator):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
