"""PostgreSQL in a temporary folder: one cluster for all tests, a new database for each."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.parts.processes import Part, missing, require, running_part

USER = "modelyard"
_OLDEST = 15
_numbers = itertools.count(1)


def program(name: str) -> Path:
    """One of PostgreSQL's programs; skips the test where it is not installed."""
    folders = sorted(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if folder.parent.name.isdigit()),
        key=lambda folder: int(folder.parent.name),
    )
    if folders and int(folders[-1].parent.name) >= _OLDEST:
        return require(folders[-1] / name, "PostgreSQL")
    return require(shutil.which(name), "PostgreSQL")


def _unprivileged() -> dict[str, Any]:
    """Popen's options to run as another user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get("postgres") or users.get("nobody")
    if user is None:
        missing("PostgreSQL refuses to run as root, and there is no other user")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a cluster's maintenance database; `postgresql://modelyard@127.0.0.1:<port>/postgres`."""
    with postgres_cluster() as url:
        yield url


@contextmanager
def postgres_cluster(*, fsync: bool = False) -> Iterator[str]:
    """A cluster in a temporary folder, by the URL of its maintenance database."""
    with postgres_part(fsync=fsync) as cluster:
        yield url_of(cluster)


@contextmanager
def postgres_part(*, fsync: bool = False) -> Iterator[Part]:
    """A cluster in a temporary folder. SIGQUIT ends it as a crash does."""
    initdb, postgres, pg_isready = program("initdb"), program("postgres"), program("pg_isready")
    options = _unprivileged()
    # Not below pytest's own folder: only its owner may enter that one.
    folder = Path(tempfile.mkdtemp(prefix="modelyard-postgres-"))
    try:
        if options:
            os.chown(folder, options["user"], options["group"])
        data = folder / "data"
        initialize = [str(initdb), "--no-sync", "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C"]
        initialize += ["-D", str(data)]
        subprocess.run(initialize, check=True, stdout=subprocess.DEVNULL, cwd=folder, **options)

        def command(port: int) -> list[str]:
            settings = {
                "listen_addresses": "127.0.0.1",
                "unix_socket_directories": str(folder),
                "fsync": "on" if fsync else "off",  # tests kill our processes, never the machine
                "max_connections": "200",
                "deadlock_timeout": "200ms",
            }
            flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            return [str(postgres), "-D", str(data), "-p", str(port), *flags]

        def is_ready(port: int) -> bool:
            ask = [str(pg_isready), "-q", "-h", "127.0.0.1", "-p", str(port)]
            return subprocess.run(ask, check=False).returncode == 0

        log = folder / "log"
        with running_part(command, is_ready, log, stop_signal=signal.SIGINT, cwd=folder, **options) as part:
            yield part
    finally:
        shutil.rmtree(folder)


def url_of(cluster: Part) -> str:
    """The URL of a cluster's maintenance database."""
    return f"postgresql://{USER}@127.0.0.1:{cluster.port}/postgres"


def new_database(url: str, name: str = "") -> str:
    """Makes a database without a schema, by default with a name of its own; returns its URL."""
    import psycopg

    name = name or f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return url.removesuffix("postgres") + name


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """The URL of a new database without a schema, dropped after the test, with its connections."""
    import psycopg

    url = new_database(postgres_url)
    yield url
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')
