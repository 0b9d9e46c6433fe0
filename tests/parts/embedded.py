"""The embedded server: spawned by the SDK itself over a folder of the test session."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def embedded_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that all tests of the session share; its server ends with the session."""
    folder = tmp_path_factory.mktemp("data")
    yield folder
    stop_embedded(folder)


@pytest.fixture
def embedded(embedded_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The SDK of this process uses the shared folder; the test runs in an empty one, which is returned."""
    import modelyard

    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(embedded_folder))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    modelyard.finish()


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No setting of the machine reaches the test: neither variables nor what `login` kept."""
    for name in list(os.environ):
        if name.startswith(("MODELYARD_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MODELYARD_CONFIG_DIR", str(folder / "config"))
    monkeypatch.setenv("MODELYARD_CACHE_DIR", str(folder / "cache"))


def embedded_pid(folder: Path) -> int:
    """Process id of the server over a folder."""
    return int(json.loads((folder / "server.json").read_text())["pid"])


def stop_embedded(folder: Path, how: int = signal.SIGTERM) -> None:
    """Ends the server over a folder, if there is one, and waits until it is gone."""
    if not (folder / "server.json").exists():
        return
    pid = embedded_pid(folder)
    with suppress(ProcessLookupError):
        os.kill(pid, how)
    deadline = time.monotonic() + 40
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
