"""The embedded server: spawned by the SDK itself over a folder of the test session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.parts.fork_server import start_python


@pytest.fixture(scope="session", autouse=True)
def forked_embedded_servers() -> Iterator[None]:
    """Forks the embedded servers that this process starts; programs under test start the interpreter."""
    import modelyard.rpc.embedded

    def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        assert command[0] == sys.executable
        return start_python(*command[1:], **options)

    with pytest.MonkeyPatch.context() as patch:
        process = types.SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL)
        patch.setattr(modelyard.rpc.embedded, "subprocess", process)
        yield


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
    """Hides the settings of the machine from the test: variables, and what `login` stored."""
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
