"""A database that goes away in the middle of a commit, or is locked: each request takes effect once."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import psycopg
import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import run_pb2
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.refusals import Refusal, read
from tests.clients.waiting import until
from tests.parts.server import Factory, LiveServer, production_place
from tests.parts.tcp_proxy import TcpProxy

STOPS = {"MODELYARD_FAILPOINTS": "commit.inside=sleep(3)@2"}
"""The second commit waits inside its transaction."""


@dataclass
class Production:
    """A server whose connections to the database pass a proxy, and a connection of the test's own."""

    server: LiveServer
    proxy: TcpProxy
    database: psycopg.Connection[tuple[object, ...]]

    def is_committing(self) -> bool:
        """Whether a transaction of the server has been idle for long: it waits inside its commit."""
        found = self.database.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state = 'idle in transaction' AND now() - state_change > interval '0.5 seconds'"
        ).fetchone()
        return found is not None and found[0] != 0

    def end_backends(self) -> None:
        """Ends every connection of the server, as an administrator does."""
        self.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def has_version(self, number: int) -> bool:
        """Whether the database has a version of this number."""
        found = self.database.execute(
            "SELECT count(*) FROM artifact_version WHERE number = %s", (number,)
        ).fetchone()
        return found is not None and found[0] != 0


@pytest.fixture
def production(request: pytest.FixtureRequest, live_server_factory: Factory) -> Iterator[Production]:
    place, env = production_place(request)
    url = place[1]
    port = int(url.rpartition(":")[2].partition("/")[0])
    with TcpProxy(port) as proxy, psycopg.connect(url, autocommit=True) as connection:
        through = url.replace(f"127.0.0.1:{port}", proxy.address)
        server = live_server_factory(place=("--database", through, *place[2:]), env={**env, **STOPS})
        yield Production(server.start(), proxy, connection)


def end_backends(production: Production) -> None:
    production.end_backends()


def cut(production: Production) -> None:
    production.proxy.cut()


def lose_the_reply(production: Production) -> None:
    """The database commits, and the server never hears of it."""
    production.proxy.lose_reply_to = b"COMMIT"
    until(lambda: production.has_version(1))
    production.proxy.lose_reply_to = None
    production.proxy.cut()


@pytest.mark.parametrize("fault", [end_backends, cut, lose_the_reply])
def test_a_commit_whose_database_went_away_takes_effect_once_when_it_is_repeated(
    production: Production, fault: Callable[[Production], None]
) -> None:
    stubs, before, content = production.server.stubs(), random_chunks(2), random_chunks(2)
    fast_upload.log(stubs, "p", "bert", {"w": before})
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fast_upload.log, stubs, "p", "bert", {"w": content}, request_id="one")
        until(production.is_committing)
        fault(production)
        outcome = _outcome(first)
    assert outcome in {"", "DATABASE_UNAVAILABLE"}
    again = fast_upload.log(stubs, "p", "bert", {"w": content}, request_id="one").version
    assert again.number == 1
    assert fast_upload.read(stubs, again.id, "w") == b"".join(content)
    request = pb.ListModelArtifactVersionsRequest(ref="p/bert", order_by="number")
    assert [one.number for one in stubs.artifacts.ListModelArtifactVersions(request).versions] == [0, 1]


def _outcome(call: Future[pb.CommitModelArtifactResponse]) -> str:
    """The reason of a refusal; empty if there was none."""
    refusal = Refusal()
    try:
        call.result(60)
    except grpc.RpcError as error:
        read(error, refusal)
    return refusal.reason


def test_while_the_database_is_locked_reads_go_on_and_writes_wait(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    stubs, chunks = server.stubs(), random_chunks(2)
    version = fast_upload.log(stubs, "p", "bert", {"w": chunks}).version
    with contextlib.closing(sqlite3.connect(server.data / "modelyard.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = stubs.runs.CreateRun.future(run_pb2.CreateRunRequest(run=run_pb2.Run(project="p")))
        for _ in range(20):
            assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)
        assert not waiting.done()
        other.execute("ROLLBACK")
    assert waiting.result(30).run.project == "p"
