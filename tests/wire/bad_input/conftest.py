"""The server and the scene that the tables and the fuzz tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.server import LiveServer, Stubs
from tests.wire.bad_input.scene import Scene, make


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server of its own, with an HTTP port: its tables and its memory are compared."""
    live = LiveServer(tmp_path_factory.mktemp("bad-input"), "--web-port", "0")
    try:
        yield live.start()
    finally:
        live.close()


@pytest.fixture(scope="module")
def stubs(server: LiveServer) -> Stubs:
    """Stubs of that server."""
    return server.stubs()


@pytest.fixture(scope="module")
def scene(stubs: Stubs) -> Scene:
    """What the cases are about."""
    return make(stubs)
