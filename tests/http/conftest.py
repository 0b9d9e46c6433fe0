"""Servers with an HTTP port, each for all tests of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.server import LiveServer, create_key

INDEX = b"<!doctype html><title>modelyard</title><script src=/app.js></script>"
SCRIPT = b"console.log('modelyard')\n" * 200


@pytest.fixture(scope="package")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built page."""
    folder = tmp_path_factory.mktemp("dist")
    (folder / "index.html").write_bytes(INDEX)
    (folder / "app.js").write_bytes(SCRIPT)
    (folder / "app.css").write_bytes(b"body { color: red }")
    (folder.parent / "secret.txt").write_text("not of the page")
    return folder


@pytest.fixture(scope="package")
def open_server(tmp_path_factory: pytest.TempPathFactory, dist: Path) -> Iterator[LiveServer]:
    """A server on loopback that needs no key."""
    server = LiveServer(tmp_path_factory.mktemp("open"), "--web-port", "0", "--web-dist", str(dist))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="package")
def closed_server(tmp_path_factory: pytest.TempPathFactory, dist: Path) -> Iterator[LiveServer]:
    """A server on loopback that needs keys: each test makes its own."""
    server = LiveServer(tmp_path_factory.mktemp("closed"), "--web-port", "0", "--web-dist", str(dist))
    try:
        create_key(server, "first", "--all-entities")
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="package")
def acme_key(closed_server: LiveServer) -> str:
    """A key for the entity `acme`."""
    return create_key(closed_server, "ada", "--entity", "acme")
