"""The composition root: the one file that knows all the others."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.host import allocator
from modelyard_server import failpoints
from modelyard_server.db import migrations
from modelyard_server.db.connecting import DatabaseRefused
from modelyard_server.db.engine import Database, now
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import StoreMeta
from modelyard_server.domain import events
from modelyard_server.domain.access import keys, owners
from modelyard_server.domain.access.principals import LOCAL
from modelyard_server.domain.content import damage, uploads
from modelyard_server.domain.content.manifests import Limits
from modelyard_server.observability import exporters, telemetry
from modelyard_server.packs import PackStore, store_from_url
from modelyard_server.packs.disk import DiskStore
from modelyard_server.packs.seen import SeenPacks
from modelyard_server.packs.store import StoreRefused
from modelyard_server.packs.writer import PackWriter
from modelyard_server.process import (
    background,
    data_folder,
    descriptors,
    private_files,
    serving,
    sockets,
    start_waits,
)
from modelyard_server.rpc.dispatch.activity import Activity
from modelyard_server.rpc.dispatch.auth import Authenticator, FolderOnly
from modelyard_server.rpc.dispatch.executors import SQLITE_CONNECTIONS, Pools, Transactions
from modelyard_server.rpc.dispatch.grpc_adapter import Interceptor
from modelyard_server.rpc.dispatch.stream_limits import Shares, StreamLimits
from modelyard_server.rpc.dispatch.stream_memory import Memory
from modelyard_server.rpc.services import registration
from modelyard_server.rpc.services.artifact_service import ModelArtifactServicer
from modelyard_server.rpc.services.event_wakeups import Watching
from modelyard_server.rpc.services.events import EventServicer
from modelyard_server.rpc.services.local import LocalServicer
from modelyard_server.rpc.services.models import RegisteredModelServicer
from modelyard_server.rpc.services.runs import RunServicer
from modelyard_server.rpc.services.uploads import UploadServicer
from modelyard_server.settings import Away, Place, Settings, StartError

log = logging.getLogger(__name__)

PREDECESSOR_SECONDS = 10.0
"""How long an embedded server waits for one that is about to leave the same folder."""


def run(settings: Settings) -> None:
    """Serves until a signal or idleness ends it. Raises StartError."""
    settings.check()
    descriptors.raise_limit()
    allocator.tune_server()
    failpoints.arm_from(os.environ)
    with ExitStack() as stack:
        exporters.start(settings, stack)
        advertisement = None
        if settings.place.folder is not None:
            wait = PREDECESSOR_SECONDS if settings.embedded else 0.0
            stack.enter_context(data_folder.held(settings.place.folder, wait_seconds=wait))
            if settings.embedded:
                private_files.tighten(settings.place.folder)
            sockets.clear(settings.place.folder)
            advertisement = data_folder.Advertisement(settings.place.folder)
        parts, settings = start_waits.until_there(settings, functools.partial(open_parts, settings))
        if parts is None:  # told to stop before they were there
            return
        database, packs = parts
        stack.callback(database.close)
        pools = Pools(is_sqlite=database.is_sqlite)
        stack.callback(pools.close)
        asyncio.run(_serve(settings, database, packs, pools, advertisement))


async def _serve(
    settings: Settings,
    database: Database,
    packs: SeenPacks,
    pools: Pools,
    advertisement: data_folder.Advertisement | None,
) -> None:
    store = packs.store
    transactions = Transactions(database, pools, packs)
    activity = Activity()
    token = advertisement.token if advertisement else ""
    authenticator = make_authenticator(settings, transactions, token)
    interceptor = Interceptor(
        transactions,
        authenticator,
        activity,
        decoding=pools.decoding,
        stall_seconds=settings.stall_seconds,
    )
    server = serving.make_server(settings, interceptor)
    writer = make_writer(store, database, pools)
    streams = StreamLimits.of(
        settings.upload_streams, settings.download_streams, settings.watch_streams, settings.stream_share
    )
    watch_gauges(activity, writer, streams.by_kind())
    limits = Limits(settings.max_version_files, settings.max_version_chunks, settings.max_version_gib << 30)
    memory = Memory()
    registration.register(
        server,
        runs=RunServicer(streams.scan),
        events=EventServicer(Watching(transactions, activity), streams.watch),
        artifacts=ModelArtifactServicer(writer, packs, pools.hashing, pools.store, streams, memory, limits),
        registry=RegisteredModelServicer(),
        uploads=UploadServicer(writer, streams.upload),
        local=LocalServicer(
            writer,
            store if isinstance(store, DiskStore) else None,
            pools.hashing,
            streams.upload,
            streams.download,
            memory.local,
        ),
    )
    await asyncio.get_running_loop().run_in_executor(pools.store, store.clean)
    sweeping_task = asyncio.create_task(background.sweep_forever(transactions, settings.sweep_seconds))
    try:
        await serving.serve(server, settings, activity, advertisement)
    finally:
        sweeping_task.cancel()
    await writer.drain()


def make_writer(store: PackStore, database: Database, pools: Pools) -> PackWriter:
    """The writer of packs, with its two transactions."""
    return PackWriter(
        store,
        lambda upload, _entity: database.write(lambda session: uploads.begin_pack(session, upload)),
        lambda *pack: database.write(lambda session: uploads.publish_pack(session, *pack)),
        store_pool=pools.store,
        database_pool=pools.writes,
    )


def watch_gauges(activity: Activity, writer: PackWriter, streams: Mapping[str, Shares]) -> None:
    """Shows the process's state in its metrics."""
    telemetry.CALLS.watch(lambda: activity.active)
    telemetry.UPLOAD_MEMORY.watch(lambda: writer.budget.total - writer.budget.free)
    telemetry.UPLOAD_MEMORY_LIMIT.watch(lambda: writer.budget.total)
    telemetry.UPLOADS_WAITING.watch(lambda: writer.budget.waiting)
    for kind, limit in streams.items():
        telemetry.STREAMS.watch(functools.partial(getattr, limit, "open"), kind)
        telemetry.STREAM_LIMIT.watch(functools.partial(getattr, limit, "most"), kind)


def open_parts(settings: Settings) -> tuple[Database, SeenPacks]:
    """The database and the store, checked. Raises StartError; Away while one of them does not answer."""
    database = open_database(settings.place)
    try:
        store = open_store(settings.place)
        packs = SeenPacks(store, require_same_store(database, store))
        require_key_or_loopback(settings, database)
    except BaseException as error:
        database.close()
        if isinstance(error, errors.CommError):
            raise start_error(
                "database", error, f"{error} (database: {settings.place.description})"
            ) from error
        raise
    damage.use(database, packs)
    return database, packs


def open_database(place: Place) -> Database:
    """The database with the schema of this release. Raises StartError, Away.

    On a disk that has no room for the files that SQLite makes beside its
    database, one connection does without them: that is slower, and reads work.
    """
    readers = SQLITE_CONNECTIONS if place.database.startswith("sqlite") else 8
    for alone in (False, True):
        database = Database(place.database, readers=readers, finish=events.flush, alone=alone)
        try:
            migrations.upgrade(database)
            return database
        except (errors.CommError, migrations.SchemaTooNew) as error:
            database.close()
            if isinstance(error, errors.DiskFull) and database.is_sqlite and not alone:
                log.warning("%s: reads are served by one connection, and writes are refused", error)
                continue
            raise start_error("database", error, f"{error} ({place.description})") from error
    raise AssertionError("unreachable")


def start_error(what: str, error: Exception, message: str) -> StartError:
    """Away where waiting may help, else StartError."""
    refused = (DatabaseRefused, StoreRefused)
    unavailable = (errors.DatabaseUnavailable, errors.StoreUnavailable)
    if isinstance(error, unavailable) and not isinstance(error, refused):
        return Away(what, error, message)
    return StartError(message)


def open_store(place: Place) -> PackStore:
    """The store of the packs. Raises StartError."""
    try:
        return store_from_url(place.store)
    except (ValueError, errors.CommError) as error:
        raise start_error("store", error, f"the store cannot be used: {error}") from error


def require_same_store(database: Database, store: PackStore) -> str:
    """The id that the database and the store name; both get one at the first start. Raises StartError."""
    try:
        known = database.read(_store_id)
        if known is None:
            known = database.write(functools.partial(_claim, store))
        found = store.store_id()
    except errors.DatabaseUnavailable:
        raise
    except errors.CommError as error:
        raise start_error("store", error, f"the store cannot be used: {error}") from error
    if found == known:
        return known
    belongs = "belongs to another database" if found else "is empty, or another one"
    raise StartError(
        f"this store {belongs}: the database expects the store {known} and found {found or 'none'}. "
        "Give the --store that belongs to this --database, or restore it from its backup"
    )


def _store_id(session: Session) -> str | None:
    return session.scalar(select(StoreMeta.store_id))


def _claim(store: PackStore, session: Session) -> str:
    """Takes the store for this database. The row comes first: of servers that start at once, one claims."""
    known = _store_id(session)
    if known is not None:
        return known
    meta = StoreMeta(id=1, store_id=new_id(), created_at=now(session))
    session.add(meta)
    session.flush()
    owners.ensure_entity(session, LOCAL, "")  # lists of a new server are empty, not unknown
    found = store.store_id()
    if found is not None and next(store.list(), None) is not None:
        raise StartError(
            "this store belongs to another database, and this database is new: give the --database that "
            "belongs to it, or an empty store"
        )
    # An empty store with an id is what a server leaves that was killed right here.
    meta.store_id = found or store.claim(meta.store_id)
    return meta.store_id


def require_key_or_loopback(settings: Settings, database: Database) -> None:
    """A server that others can reach has a key, or was told to do without. Raises StartError."""
    if settings.loopback or settings.no_auth or database.read(keys.any_live):
        return
    raise StartError(
        f"--host {settings.host} lets other machines in, and there is no API key yet: make one with "
        "`modelyard server key create NAME` (and the same --data or --database), or say --no-auth"
    )


def make_authenticator(settings: Settings, transactions: Transactions, token: str) -> Authenticator:
    """How this server finds out who calls."""
    if settings.embedded:
        return FolderOnly(transactions, folder_token=token)
    # Where others can reach it, revoking the last key must not open the server to everybody.
    required = False if settings.no_auth else None if settings.loopback else True
    return Authenticator(transactions, folder_token=token, keys_required=required)
