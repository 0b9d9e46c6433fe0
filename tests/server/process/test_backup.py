"""Backups as docs/operations.md describes them: the database first, then the store, of a server that runs."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest

from tests.clients import fast_upload
from tests.parts.postgres import program
from tests.parts.server import Factory, LiveServer, Stubs, new_project, production_place, run_server_command

Logged = dict[str, tuple[str, bytes]]
"""Version id and content by the artifact's name."""


class Writing:
    """A client that logs one version after the other."""

    def __init__(self, stubs: Stubs) -> None:
        self._stubs = stubs
        self._project = new_project()
        self.logged: Logged = {}
        self.over = threading.Event()
        self.some = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            name = f"model-{len(self.logged)}"
            chunks = fast_upload.random_chunks(2)
            made = fast_upload.log(self._stubs, self._project, name, {"a": chunks}, type="model")
            self.logged[name] = (made.version.id, b"".join(chunks))
            if len(self.logged) >= 3:
                self.some.set()


@contextmanager
def writing(server: LiveServer) -> Iterator[Writing]:
    """Logs versions until the block ends."""
    writer = Writing(server.stubs())
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        assert writer.some.wait(60)
        yield writer
    finally:
        writer.over.set()
        thread.join()


def back_up(
    server: LiveServer, copy_database: Callable[[], None], copy_store: Callable[[], None]
) -> tuple[Logged, Logged]:
    """Takes both copies while versions are logged; what was logged before they began, and in all."""
    with writing(server) as writer:
        before = dict(writer.logged)
        copy_database()
        writer.some.clear()
        assert writer.some.wait(60)  # logged between the two copies
        copy_store()
    return before, writer.logged


def copy_packs(store: Path, to: Path) -> None:
    shutil.copytree(store, to, ignore=shutil.ignore_patterns("tmp"))


def check(restored: LiveServer, before: Logged, logged: Logged) -> None:
    """What was there is there, and every version that the database knows has its bytes."""
    stubs = restored.stubs()
    found = set()
    for name, (version_id, content) in logged.items():
        with contextlib.suppress(_Unknown):
            assert _read(stubs, version_id) == content
            found.add(name)
    assert before.keys() <= found < logged.keys()


class _Unknown(Exception):
    """The server knows no such version."""


def _read(stubs: Stubs, version_id: str) -> bytes:
    try:
        return fast_upload.read(stubs, version_id, "a")
    except grpc.RpcError as failure:
        if failure.code() is grpc.StatusCode.NOT_FOUND:
            raise _Unknown from failure
        raise


def test_a_folder_is_restored_from_copies_of_a_running_server(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    server = live_server_factory().start()
    copy = tmp_path / "copy"
    copy.mkdir()

    def copy_database() -> None:
        with closing(sqlite3.connect(server.data / "modelyard.db")) as connection:
            connection.execute("VACUUM INTO ?", (str(copy / "modelyard.db"),))

    logged = back_up(server, copy_database, lambda: copy_packs(server.data / "store", copy / "store"))
    server.stop()
    assert run_server_command("restore", "--data", str(copy)).returncode == 0
    doctor = run_server_command("doctor", "--data", str(copy))
    assert doctor.returncode == 0, doctor.stdout
    check(live_server_factory(place=("--data", str(copy))).start(), *logged)


def test_postgresql_is_restored_from_its_dump(
    request: pytest.FixtureRequest, live_server_factory: Factory, tmp_path: Path
) -> None:
    place, _ = production_place(request)
    store, dump = tmp_path / "store", tmp_path / "dump.sql"
    server = live_server_factory(place=(*place[:2], "--store", str(store))).start()
    copy_database = [program("pg_dump"), "--no-owner", "--file", dump, "--dbname", place[1]]
    logged = back_up(
        server,
        lambda: _done(copy_database),
        lambda: copy_packs(store, tmp_path / "copy"),
    )
    server.stop()
    empty, _ = production_place(request)
    _done([program("psql"), "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", empty[1], "--file", dump])
    restored = (*empty[:2], "--store", str(tmp_path / "copy"))
    assert run_server_command("restore", *restored).returncode == 0
    doctor = run_server_command("doctor", *restored).stdout
    assert [line for line in doctor.splitlines() if not line.startswith("ok ") and "fsync" not in line] == []
    check(live_server_factory(place=restored).start(), *logged)


def _done(command: list[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_a_restored_database_refuses_the_store_of_another(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    one, other = live_server_factory().start(), live_server_factory().start()
    one.stop()
    other.stop()
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(one.data / "modelyard.db", mixed)
    shutil.copytree(other.data / "store", mixed / "store")
    refused = run_server_command("start", "--data", str(mixed), "--port", "0")
    assert refused.returncode == 1
    assert "this store belongs to another database" in refused.stderr
