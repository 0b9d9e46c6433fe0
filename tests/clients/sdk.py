"""The SDK of this process, pointed at a server on each pair of database and store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.embedded import isolate
from tests.parts.server import LiveServer, new_project


@pytest.fixture
def work(any_live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that the test runs in; runs go to a project of its own."""
    import modelyard

    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", any_live_server.url)
    monkeypatch.setenv("MODELYARD_ENTITY", "local")
    monkeypatch.setenv("MODELYARD_PROJECT", new_project())
    if any_live_server.token:
        monkeypatch.setenv("MODELYARD_API_KEY", any_live_server.token)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    modelyard.finish()
