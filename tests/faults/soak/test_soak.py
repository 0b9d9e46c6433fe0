"""Servers, clients, stores and databases are killed at random moments while clients work.

Nothing that was acknowledged is lost, nothing is half-visible, no call of the SDK
fails, and the checker finds no damage, neither meanwhile nor at the end.
`MODELYARD_SOAK_KILLS=300` makes it longer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import psycopg
import pytest

from tests.clients.checker import fsck
from tests.faults.soak.check_state import violations
from tests.faults.soak.operation_log import OperationLog
from tests.faults.soak.soak_client import Assignment
from tests.parts.fork_server import start_python
from tests.parts.postgres import postgres_part, url_of
from tests.parts.s3 import CREDENTIALS, S3Server, minio_part
from tests.parts.server import Factory, LiveServer, environment, new_project, run_server_command

CLIENTS = 2
KILLS = int(os.environ.get("MODELYARD_SOAK_KILLS", "12"))
SECONDS_BETWEEN = (0.3, 1.5)
ROOT = Path(__file__).parents[3]

Kills = Mapping[str, Callable[[], None]]


class Clients:
    """The processes of the clients, each with its operation log."""

    def __init__(self, server: LiveServer, key: str, project: str, folder: Path) -> None:
        self._server = server
        self._key = key
        self._project = project
        self._paths = [folder / f"client-{number}.jsonl" for number in range(CLIENTS)]
        self._logs = [folder / f"client-{number}.log" for number in range(CLIENTS)]
        self._processes = [self._start(number) for number in range(CLIENTS)]

    def kill_one(self) -> None:
        """kill -9 of one, and another process that goes on for it."""
        number = random.randrange(CLIENTS)
        self._end(number)
        self._processes[number] = self._start(number)

    def end(self) -> list[OperationLog]:
        """Ends them all; what they wrote down."""
        for number in range(CLIENTS):
            self._end(number)
        return [OperationLog.read(path) for path in self._paths]

    def printed(self) -> str:
        """What they printed last."""
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in self._logs)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        given = Assignment(self._server.url, self._key, self._project, number, str(self._paths[number]))
        with self._logs[number].open("ab") as output:
            process = start_python(
                "-m",
                "tests.faults.soak.soak_client",
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=environment({"PYTHONPATH": str(ROOT)}),
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(given)).encode() + b"\n")
        process.stdin.close()
        return process

    def _end(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait()


def key_of(server: LiveServer) -> str:
    """A key: the token of a data folder is another one after each start."""
    done = run_server_command("key", "create", "soak", *server.place, env=server.env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def restart(server: LiveServer) -> None:
    """kill -9 of the server, and its next start."""
    server.kill()
    server.start()


@contextlib.contextmanager
def embedded_pair(folder: Path, make: Factory) -> Iterator[tuple[LiveServer, Kills]]:
    """SQLite and a folder."""
    server = make()
    yield server, {"server": lambda: restart(server)}


@contextlib.contextmanager
def production_pair(folder: Path, make: Factory) -> Iterator[tuple[LiveServer, Kills]]:
    """PostgreSQL and MinIO of their own, which are killed too."""
    (folder / "minio").mkdir()
    with postgres_part() as database, minio_part(folder / "minio") as store:
        with psycopg.connect(url_of(database), autocommit=True) as connection:
            connection.execute("CREATE DATABASE soak")
        s3 = S3Server(f"http://127.0.0.1:{store.port}")
        place = ("--database", url_of(database).removesuffix("postgres") + "soak")
        server = make(place=(*place, "--store", s3.url(s3.new_bucket())), env=CREDENTIALS)

        def crash_database() -> None:
            database.kill(signal.SIGQUIT)  # ends at once; the next start replays its log
            database.start()

        def kill_store() -> None:
            store.kill()
            store.start()

        yield (
            server,
            {
                "server": lambda: restart(server),
                "database": crash_database,
                "store": kill_store,
            },
        )


@pytest.mark.slow
@pytest.mark.parametrize("pair", [embedded_pair, production_pair])
def test_nothing_acknowledged_is_lost_whatever_is_killed(
    pair: Callable[[Path, Factory], contextlib.AbstractContextManager[tuple[LiveServer, Kills]]],
    live_server_factory: Factory,
    tmp_path: Path,
) -> None:
    project = new_project()
    with pair(tmp_path, live_server_factory) as (server, kills):
        key = key_of(server)
        clients = Clients(server.start(), key, project, tmp_path)
        try:
            kinds = [*kills.items(), ("client", clients.kill_one)]
            for number, (kind, kill) in zip(range(KILLS), itertools.cycle(kinds), strict=False):
                time.sleep(random.uniform(*SECONDS_BETWEEN))
                print(f"killing the {kind}")
                kill()
                if number % 10 == 5:  # beside the clients, who go on
                    assert fsck(server.place, server.env, "--read-data", "20").damage == []
            time.sleep(SECONDS_BETWEEN[1])
        finally:
            ledgers = clients.end()
        assert violations(server.stubs(key), project, ledgers) == [], clients.printed()
        checked = fsck(server.place, server.env, "--read-data", "100")
        assert (checked.damage, checked.code) == ([], 0), checked.report
    for kind in ("log", "link", "rows", "lines", "files"):
        assert any(ledger.done(kind) for ledger in ledgers), f"no {kind} was acknowledged: nothing was shown"
    print(f"{sum(len(ledger.operations) for ledger in ledgers)} operations")
