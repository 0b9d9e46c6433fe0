"""Callers without a key cost a server little, and large requests do not delay small ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.v1 import metric_pb2
from modelyard.v1.model_artifact_pb2 import GetModelArtifactVersionRequest
from modelyard_server.domain.access import keys
from modelyard_server.process.storage import open_database
from modelyard_server.rpc.dispatch import auth
from modelyard_server.rpc.dispatch.auth import MOST_LOOKUPS, Authenticator
from modelyard_server.rpc.dispatch.executors import Executors
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.settings import parse_location
from tests.clients.refusals import refused
from tests.clients.watch import log
from tests.parts.server import Factory, LiveServer, Stubs, reason

T = TypeVar("T")
BODY = b"\xff" * 3_000_000
"""No message of any kind: a server that decodes it says so."""
BODIES_AT_ONCE = 3
UNARY = "/modelyard.v1.ModelArtifactService/GetModelArtifactVersion"
COLLECTING = "/modelyard.v1.ModelArtifactService/CommitModelArtifact"
STREAMING = "/modelyard.v1.UploadService/UploadChunks"
REPLIES = "/modelyard.v1.MetricService/ScanMetricHistory"
CALLS = (UNARY, COLLECTING, STREAMING, REPLIES)
DECODING = 15
"""Seconds that a large request takes to decode where that is to be seen."""


@pytest.fixture
def server(keyed_server: LiveServer) -> LiveServer:
    return keyed_server


@pytest.fixture
def owner(server: LiveServer) -> Stubs:
    return server.stubs()


def send(stubs: Stubs, method: str, *bodies: bytes, key: str = "") -> None:
    """Calls any method with bodies that are no messages, and takes what comes."""
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    if method in (COLLECTING, STREAMING):
        list(stubs.channel.stream_stream(method)(iter(bodies), metadata=metadata, timeout=60))
    else:
        list(stubs.channel.unary_stream(method)(bodies[0], metadata=metadata, timeout=60))


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(("key", "why"), [("", "KEY_MISSING"), ("my_" + "x" * 40, "KEY_INVALID")])
def test_a_caller_without_a_key_is_refused_before_its_request_is_decoded(
    server: LiveServer, method: str, key: str, why: str
) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        send(server.stubs(""), method, BODY, key=key)
    assert reason(failure) == (grpc.StatusCode.UNAUTHENTICATED, why)


@pytest.mark.parametrize("method", CALLS)
def test_a_caller_without_a_key_is_refused_before_it_has_sent_anything(
    server: LiveServer, method: str
) -> None:
    never = threading.Event()

    def silence() -> Iterator[bytes]:
        never.wait(60)
        yield b""

    call = server.stubs("").channel.stream_stream(method)(silence(), timeout=30)
    try:
        with pytest.raises(grpc.RpcError) as failure:
            next(call)
    finally:
        never.set()
    assert reason(failure) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")


def test_large_requests_without_a_key_do_not_delay_those_with_a_key(server: LiveServer, owner: Stubs) -> None:
    log(owner, "p")
    stop = threading.Event()
    refusals: list[str] = []

    def flood() -> None:
        stubs = server.stubs("")
        while not stop.is_set():
            with pytest.raises(grpc.RpcError) as failure:
                send(stubs, UNARY, BODY)
            refusals.append(reason(failure)[1])

    strangers = [threading.Thread(target=flood) for _ in range(BODIES_AT_ONCE)]
    for stranger in strangers:
        stranger.start()
    try:
        for _ in range(50):
            owner.artifacts.GetModelArtifactVersion(
                GetModelArtifactVersionRequest(ref="p/bert:latest"), timeout=30
            )
    finally:
        stop.set()
        for stranger in strangers:
            stranger.join(60)
    assert set(refusals) == {"KEY_MISSING"}


def test_a_small_request_does_not_wait_until_a_large_one_is_decoded(live_server_factory: Factory) -> None:
    """The large one is decoded on a thread; on the event loop it would block all other calls."""
    slow = {"MODELYARD_FAILPOINTS": f"decoding.large=sleep({DECODING})@1"}
    owner = live_server_factory(env=slow).start().stubs()
    log(owner, "q")
    large = owner.metrics.LogMetrics.future(metric_pb2.LogMetricsRequest(run_id="x" * 200_000), timeout=60)
    for _ in range(5):
        owner.artifacts.GetModelArtifactVersion(
            GetModelArtifactVersionRequest(ref="q/bert:latest"), timeout=60
        )
    assert not large.done()
    large.cancel()


@pytest.mark.parametrize("size", [1_000, 1_000_000])
@pytest.mark.parametrize("method", CALLS)
def test_undecodable_requests_are_refused_as_invalid(
    owner: Stubs, server: LiveServer, method: str, size: int
) -> None:
    with refused("INVALID_FIELD"):
        send(owner, method, BODY[:size], key=server.token)


def test_an_upload_that_names_a_million_chunks_is_refused(owner: Stubs, server: LiveServer) -> None:
    with refused("INVALID_FIELD", "chunks[0].digest"):
        send(owner, STREAMING, b"\x12\x00" * 1_000_000, key=server.token)


def test_large_requests_of_open_methods_are_refused_undecoded(server: LiveServer) -> None:
    stubs = server.stubs("")
    large = health_pb2.HealthCheckRequest(service="x" * 1_000_000)
    for call in (stubs.health.Check, lambda request: next(stubs.health.Watch(request))):
        with refused("INVALID_FIELD"):
            call(large)
    reflection = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
    symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="x" * 1_000_000)
    with refused("INVALID_FIELD"):
        next(reflection.ServerReflectionInfo(iter([symbol])))
    assert stubs.health.Check(health_pb2.HealthCheckRequest()).status == 1


class HeldReads(Transactions):
    """Reads that wait until they may go on."""

    may_go_on: asyncio.Event

    async def read(self, rule: Callable[[Session], T], *, short: bool = False) -> T:
        await self.may_go_on.wait()
        return await super().read(rule, short=short)


def test_a_flood_of_invalid_keys_does_not_lock_out_a_valid_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "CACHE_SECONDS", 0.1)
    database = open_database(parse_location(tmp_path, None, None))
    executors = Executors(is_sqlite=True)
    real = database.write(lambda session: keys.create(session, "somebody", "acme"))[1]

    async def ask() -> None:
        transactions = HeldReads(database, executors)
        transactions.may_go_on = asyncio.Event()
        transactions.may_go_on.set()
        authenticator = Authenticator(transactions)
        await authenticator.principal(bearer(real))
        await asyncio.sleep(0.2)  # it has to be looked up again
        transactions.may_go_on.clear()
        flood = [
            asyncio.ensure_future(authenticator.principal(bearer(f"my_{number:040}")))
            for number in range(MOST_LOOKUPS)
        ]
        await asyncio.sleep(0)
        with pytest.raises(errors.RateLimited):
            await authenticator.principal(bearer("my_" + "x" * 40))
        asked = asyncio.ensure_future(authenticator.principal(bearer(real)))
        await asyncio.sleep(0)
        transactions.may_go_on.set()
        assert (await asked).name == "somebody"
        assert all(
            isinstance(end, errors.KeyInvalid) for end in await asyncio.gather(*flood, return_exceptions=True)
        )

    try:
        asyncio.run(ask())
    finally:
        executors.close()
        database.close()


def bearer(key: str) -> list[tuple[str, str]]:
    """The metadata of a caller with this key."""
    return [("authorization", f"Bearer {key}")]
