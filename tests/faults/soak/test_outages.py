"""A server that is slow, restarts or is gone: training goes on in bounded memory, nothing is lost or doubled.

`MODELYARD_OUTAGE_SECONDS=1200` makes the outage longer, and `-s` prints what
`run.log` took and how much memory the trainer used.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard import Api
from tests.faults.soak.test_soak import ROOT, key_of
from tests.parts.embedded import isolate
from tests.parts.fork_server import start_python
from tests.parts.server import Factory, LiveServer, environment, new_project, production_place
from tests.parts.tcp_proxy import TcpProxy

SECONDS = float(os.environ.get("MODELYARD_OUTAGE_SECONDS", "8"))
BYTES_PER_SECOND = 256 << 10
FINISH_SECONDS = 120 + SECONDS
GROWTH_KIB = 32 << 10
"""How much memory the trainer may use more while the server is away, however long that is."""


class Training:
    """A trainer that logs all the time, and the server behind a slow link."""

    def __init__(self, server: LiveServer, link: TcpProxy, project: str, folder: Path) -> None:
        self._server = server
        self._link = link
        env = {
            "PYTHONPATH": str(ROOT),
            "MODELYARD_URL": f"grpc://{link.address}",
            "MODELYARD_API_KEY": key_of(server),
            "MODELYARD_PROJECT": project,
            "MODELYARD_FINISH_TIMEOUT": str(FINISH_SECONDS),
            "MODELYARD_CONFIG_DIR": str(folder / "config"),
            "MODELYARD_CACHE_DIR": str(folder / "cache"),
        }
        (folder / "work").mkdir()
        self._process = start_python(
            "-m",
            "tests.faults.soak.outage_trainer",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder / "work",
            env=environment(env),
        )

    def phase(self, name: str, seconds: float, fault: Callable[[float], None] = time.sleep) -> None:
        """A phase of the training, during which something is done to the server for so many seconds."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        fault(seconds)
        assert self._process.poll() is None, "the trainer has ended"

    def restarts(self, seconds: float) -> None:
        """The server is killed and started again, every few seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._server.kill()
            self._server.start()
            time.sleep(random.uniform(1, 4))

    def absence(self, seconds: float) -> None:
        """The server is gone."""
        self._server.kill()
        time.sleep(seconds)
        self._server.start()

    def silence(self, seconds: float) -> None:
        """Nothing passes on the link, and no connection ends."""
        self._link.silent = True
        time.sleep(seconds)
        self._link.silent = False
        self._link.cut()

    def end(self) -> dict[str, Any]:
        """What the trainer says when it has finished its run."""
        try:
            said, _ = self._process.communicate("end\n", timeout=2 * FINISH_SECONDS)
        finally:
            self._process.kill()
        found: dict[str, Any] = json.loads(said)
        return found


@pytest.mark.slow
@pytest.mark.timeout(600 + 4 * SECONDS)
@pytest.mark.parametrize("kind", ["sqlite+disk", "postgresql+s3"])
def test_training_goes_on_while_the_server_is_slow_or_gone(
    kind: str,
    live_server_factory: Factory,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, env = production_place(request) if kind == "postgresql+s3" else (None, None)
    server = live_server_factory(place=place, env=env).start()
    project = new_project()
    with TcpProxy(server.port) as link:
        link.bytes_per_second = BYTES_PER_SECOND
        training = Training(server, link, project, tmp_path)
        training.phase("calm", 3)
        training.phase("restarts", SECONDS / 2, training.restarts)
        training.phase("absence", SECONDS, training.absence)
        training.phase("silence", SECONDS / 4, training.silence)
        training.phase("return", 2)
        said = training.end()
    print(json.dumps(said, indent=1))

    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", server.url)
    monkeypatch.setenv("MODELYARD_API_KEY", key_of(server))
    run = Api().run(said["path"])
    rows = [(row["_step"], row["metric_0"]) for row in run.scan_history()]
    assert rows == [(step, step) for step in range(said["rows"])], "each row once, in its order"
    lines = [line.text for line in run.console_lines() if line.text.startswith("line ")]
    assert lines == [f"line {number}" for number in range(said["lines"])][-len(lines) :]
    assert len(lines) >= min(said["lines"], 9_000)
    files = {file.name: file.size for file in run.files()}
    kept = {f"samples/{number:06d}.txt": len(f"sample {number}\n") * 20 for number in range(said["files"])}
    assert files == kept
    assert run.state == "finished"
    assert said["rows"] > 20 * SECONDS
    for name, phase in said["phases"].items():
        growth = phase["resident_peak_kib"] - said["phases"]["calm"]["resident_peak_kib"]
        assert growth < GROWTH_KIB, f"{name}: {growth} KiB more than while all was calm"
