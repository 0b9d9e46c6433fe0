"""Servers with a page, each for all tests of a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.server import LiveServer, production_place
from tests.web.chromium import chromium

__all__ = ["chromium"]


@pytest.fixture(scope="package")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server on loopback with the page that is built into the package."""
    server = LiveServer(tmp_path_factory.mktemp("web"), "--web-port", "0")
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="package")
def production_web_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The same over PostgreSQL and S3."""
    place, env = production_place(request)
    folder = tmp_path_factory.mktemp("production-web")
    server = LiveServer(folder, "--web-port", "0", place=place, env=env)
    try:
        yield server.start()
    finally:
        server.close()
