"""The composition root: builds the server from its settings."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from modelyard.host import allocator
from modelyard_server import failpoints
from modelyard_server.db.engine import Database
from modelyard_server.domain.content import uploads
from modelyard_server.domain.content.manifests import Limits
from modelyard_server.observability import exporters, telemetry
from modelyard_server.packs import PackStore
from modelyard_server.packs.confirmed import ConfirmedPacks
from modelyard_server.packs.disk import DiskStore
from modelyard_server.packs.writer import PackWriter
from modelyard_server.process import (
    background,
    data_folder,
    file_descriptors,
    file_permissions,
    serving,
    sockets,
    startup_retry,
    storage,
)
from modelyard_server.process.collecting import BackgroundCollector
from modelyard_server.process.marking import Marking
from modelyard_server.process.metric_packing import MetricPacking
from modelyard_server.rpc.dispatch.admission import ActiveCalls
from modelyard_server.rpc.dispatch.auth import Authenticator, FolderTokenAuthenticator
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.grpc_adapter import GrpcAdapter
from modelyard_server.rpc.dispatch.pipeline import Pipeline
from modelyard_server.rpc.dispatch.stream_limits import MemoryBudgets, StreamLimit, StreamLimits
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.rpc.services import registration
from modelyard_server.rpc.services.aliases import AliasServicer
from modelyard_server.rpc.services.artifacts import ModelArtifactServicer
from modelyard_server.rpc.services.content.uploads import UploadServicer
from modelyard_server.rpc.services.events import EventServicer
from modelyard_server.rpc.services.local import LocalServicer
from modelyard_server.rpc.services.metrics import MetricServicer
from modelyard_server.rpc.services.models import RegisteredModelServicer
from modelyard_server.rpc.services.projects import ProjectServicer
from modelyard_server.rpc.services.run_console import RunConsoleServicer
from modelyard_server.rpc.services.run_files import RunFileServicer
from modelyard_server.rpc.services.runs import RunServicer
from modelyard_server.rpc.services.server import ServerServicer
from modelyard_server.rpc.services.watching.event_wakeups import EventSignals
from modelyard_server.rpc.services.watching.run_feeds import RunFeeds
from modelyard_server.settings import Settings, parse_duration
from modelyard_server.web.codes import Codes
from modelyard_server.web.page import Page

log = logging.getLogger(__name__)

PREDECESSOR_SECONDS = 10.0
"""How long an embedded server waits for another one that is about to release the folder."""


def run(settings: Settings) -> None:
    """Serves until a signal or, embedded, the idle time ends it. Raises StartError."""
    settings.check()
    file_descriptors.raise_limit()
    allocator.tune_server()
    failpoints.arm_from(os.environ)
    with ExitStack() as stack:
        exporters.start(settings, stack)
        advertisement = None
        if settings.location.folder is not None:
            wait = PREDECESSOR_SECONDS if settings.embedded else 0.0
            stack.enter_context(data_folder.held(settings.location.folder, wait_seconds=wait))
            if settings.embedded:
                file_permissions.tighten(settings.location.folder)
            sockets.clear(settings.location.folder)
            advertisement = data_folder.Advertisement(settings.location.folder)
        parts, settings = startup_retry.until_reachable(
            settings, functools.partial(storage.open_both, settings)
        )
        if parts is None:  # stopped before they were reachable
            return
        database, packs = parts
        stack.callback(database.close)
        executors = Executors(is_sqlite=database.is_sqlite)
        stack.callback(executors.close)
        asyncio.run(_serve(settings, database, packs, executors, advertisement))


async def _serve(
    settings: Settings,
    database: Database,
    packs: ConfirmedPacks,
    executors: Executors,
    advertisement: data_folder.Advertisement | None,
) -> None:
    page = Page(settings)
    core = build(settings, database, packs, executors, page, advertisement.token if advertisement else "")
    page.bind(
        functools.partial(_listener, settings, core, page.codes),
        opened=advertisement.add_page if advertisement else lambda url: None,
    )
    server = serving.make_server(settings, GrpcAdapter(core.pipeline))
    await asyncio.get_running_loop().run_in_executor(executors.store, packs.store.clean)
    sweeping = asyncio.create_task(background.sweep_forever(core.transactions, settings.sweep_seconds))
    packing = asyncio.create_task(core.packing.run_forever())
    collector = BackgroundCollector(database, packs, parse_duration(settings.retention))
    collecting = asyncio.create_task(collector.run_forever(settings.collect_seconds))
    marks = Marking(core.transactions, packs.store, executors)
    marking = asyncio.create_task(marks.run_forever())
    try:
        await serving.serve(server, settings, core.active_calls, advertisement, page)
    finally:
        sweeping.cancel()
        packing.cancel()
        collecting.cancel()
        marking.cancel()
    await core.writer.drain()
    await marks.finish()


def _listener(settings: Settings, core: Core, codes: Codes, port: int) -> serving.Listener:
    """Binds an HTTP port. Raises StartError."""
    # Imported only where it is asked for: uvicorn takes a fifth of a second.
    from modelyard_server.web import application, listener

    pair = (settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    return listener.Listener(
        application.build(settings, core.pipeline, core.authenticator, core.transactions, codes),
        settings.host,
        port,
        certificate=pair,
        reuse_port=settings.workers > 1,
    )


@dataclass(frozen=True)
class Core:
    """A server without a transport: what serves calls, and what has to be drained after the last one."""

    pipeline: Pipeline
    transactions: Transactions
    authenticator: Authenticator
    active_calls: ActiveCalls
    writer: PackWriter
    packing: MetricPacking


def build(
    settings: Settings,
    database: Database,
    packs: ConfirmedPacks,
    executors: Executors,
    page: Page,
    folder_token: str,
) -> Core:
    """Builds the services and the pipeline that serves them. Call it on the event loop."""
    transactions = Transactions(database, executors, packs)
    active_calls = ActiveCalls()
    writer = make_writer(packs.store, database, executors)
    streams = StreamLimits.of(
        settings.upload_streams, settings.download_streams, settings.watch_streams, settings.stream_share
    )
    memory = MemoryBudgets()
    limits = Limits(settings.max_version_files, settings.max_version_chunks, settings.max_version_gib << 30)
    packing = MetricPacking(transactions)
    disk = packs.store if isinstance(packs.store, DiskStore) else None
    offered = [name for name in registration.NAMES if disk is not None or name != registration.LOCAL]
    artifacts = ModelArtifactServicer(
        writer, packs, executors.hashing, executors.store, streams, memory, limits
    )
    services = registration.by_name(
        runs=RunServicer(RunFeeds(transactions, active_calls), streams.watch),
        console=RunConsoleServicer(),
        metrics=MetricServicer(streams.scan, packing.wake),
        events=EventServicer(EventSignals(transactions, active_calls), streams.watch),
        run_files=RunFileServicer(writer, executors.hashing, artifacts, streams, memory.windows, limits),
        artifacts=artifacts,
        registry=RegisteredModelServicer(),
        aliases=AliasServicer(),
        uploads=UploadServicer(writer, streams.upload),
        projects=ProjectServicer(),
        server=ServerServicer(limits, offered, lambda: page.url),
        local=LocalServicer(
            writer, disk, executors.hashing, streams.upload, streams.download, memory.local, page.link
        ),
    )
    authenticator = make_authenticator(settings, transactions, folder_token)
    pipeline = Pipeline(
        services,
        transactions,
        authenticator,
        active_calls,
        decoding=executors.decoding,
        stall_seconds=settings.stall_seconds,
    )
    watch_gauges(active_calls, writer, streams.by_kind())
    return Core(pipeline, transactions, authenticator, active_calls, writer, packing)


def make_writer(store: PackStore, database: Database, executors: Executors) -> PackWriter:
    """Makes the writer of packs, with its two transactions."""
    return PackWriter(
        store,
        lambda upload: database.write(lambda session: uploads.begin_pack(session, upload)),
        lambda *pack: database.write(lambda session: uploads.publish_pack(session, *pack)),
        store_pool=executors.store,
        database_pool=executors.writes,
    )


def watch_gauges(active_calls: ActiveCalls, writer: PackWriter, streams: Mapping[str, StreamLimit]) -> None:
    """Registers the gauges of the process's metrics."""
    telemetry.CALLS.watch(lambda: active_calls.count)
    telemetry.UPLOAD_MEMORY.watch(lambda: writer.budget.total - writer.budget.free)
    telemetry.UPLOAD_MEMORY_LIMIT.watch(lambda: writer.budget.total)
    telemetry.UPLOADS_WAITING.watch(lambda: writer.budget.waiting)
    for kind, limit in streams.items():
        telemetry.STREAMS.watch(functools.partial(getattr, limit, "open"), kind)
        telemetry.STREAM_LIMIT.watch(functools.partial(getattr, limit, "most"), kind)


def make_authenticator(settings: Settings, transactions: Transactions, token: str) -> Authenticator:
    """Makes the authenticator that the settings ask for."""
    if settings.embedded:
        return FolderTokenAuthenticator(transactions, folder_token=token)
    # Keys stay required where other machines can connect: revoking the last one must not open the server.
    required = False if settings.no_auth else None if settings.loopback else True
    return Authenticator(transactions, folder_token=token, keys_required=required)
