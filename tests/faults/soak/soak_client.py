"""`python -m tests.faults.soak.soak_client`: logs, saves, links, promotes, uses and deletes.

Takes an `Assignment` as JSON on standard input, and works until it is killed. Whatever happens to the server,
its store or its database, no call may fail: the SDK waits for them to return.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.configuration import addresses
from modelyard.rpc.connection import Connection
from modelyard.transfer import transfer
from modelyard.transfer.run_file_upload import OneRun, RunFileUpload
from modelyard.v1 import metric_pb2, model_artifact_pb2, registered_model_pb2, run_console_pb2, run_pb2
from tests.faults.soak.operation_log import Operation, OperationLog, content

LARGEST = 3_000_000
"""Bytes of a file; the smallest has 1."""
REGISTERED = "Soak"
SHARED = "shared"
"""The artifact that all clients log to."""


@dataclass(frozen=True)
class Assignment:
    """The project of a client, and the file of its operation log."""

    address: str
    token: str
    project: str
    client: int
    ledger: str


class Client:
    """One process of a client; it goes on with what earlier ones wrote down."""

    def __init__(self, given: Assignment, folder: Path) -> None:
        endpoint = addresses.parse(given.address, given.token)
        self._connection = Connection(lambda: endpoint)
        self._given = given
        self._folder = folder
        self._ledger = OperationLog.read(Path(given.ledger))
        self._random = random.Random()
        self._sequence = 0
        self._batches = self._lines = 0
        run = self._connection.runs.CreateRun(
            run_pb2.CreateRunRequest(
                run=run_pb2.Run(project=given.project, name=f"c{given.client}-{uuid.uuid4().hex[:8]}")
            )
        ).run

        self._run = run.id
        self._files = RunFileUpload(self._connection, OneRun(run.id, run.attempt, run.entity, run.project))

    def work(self) -> None:
        """Until it is killed; an error of any call is a broken promise, and ends it."""
        weights = {
            self._log_shared: 3, self._log_own: 4, self._link: 4, self._log_rows: 4, self._log_lines: 4,
            self._save_files: 4, self._use: 3, self._delete: 2,
        }  # fmt: skip
        while True:
            action = self._random.choices(list(weights), list(weights.values()))[0]
            try:
                action()
            except Exception as error:
                self._ledger.violate(f"{action.__name__}: {type(error).__name__}: {error}")
                raise

    def _log_shared(self) -> None:
        self._log(SHARED)

    def _log_own(self) -> None:
        self._log(f"own-{self._given.client}")

    def _log(self, name: str) -> None:
        files = {f"w{index}.bin": self._some_content() for index in range(self._random.randint(1, 3))}
        local = []
        for path, (seed, size) in files.items():
            source = self._folder / path
            source.write_bytes(content(seed, size))
            local.append(transfer.LocalFile(path, source))
        header = transfer.NewVersion("", self._given.project, name, "model")

        def send() -> Mapping[str, Any]:
            version, created = transfer.upload(self._connection, header, local, progress=transfer.SILENT)
            return {"id": version.id, "number": version.number, "created": created}

        self._do("log", {"name": name, "files": files}, send)

    def _some_content(self) -> tuple[int, int]:
        """Seed and size; one time in three of a file that was sent before."""
        sent = [tuple(file) for one in self._ledger.done("log") for file in one.wanted["files"].values()]
        if sent and self._random.random() < 0.3:
            seed, size = self._random.choice(sent)
            return seed, size
        return self._random.getrandbits(40), self._random.randint(1, LARGEST)

    def _link(self) -> None:
        version = self._some_version(SHARED)
        if version is None:
            return
        wanted = {"id": version, "alias": f"client-{self._given.client}"}

        def send() -> Mapping[str, Any]:
            reply = self._connection.registry.LinkModelArtifactVersion(
                registered_model_pb2.LinkModelArtifactVersionRequest(
                    id=version,
                    target_ref=f"{self._given.project}/{REGISTERED}",
                    aliases=[wanted["alias"]],
                )
            )
            return {"number": reply.version.number, "created": reply.created}

        self._do("link", wanted, send)

    def _log_rows(self) -> None:
        self._sequence += 1
        sequence = self._sequence
        wanted = {"run": self._run, "sequence": sequence}

        def send() -> Mapping[str, Any]:
            batch = metric_pb2.MetricBatch(steps=[sequence], timestamps=[time.time()])
            batch.columns.append(metric_pb2.MetricColumn(key="n", ints=[sequence]))
            request = metric_pb2.LogMetricsRequest(
                run_id=self._run, writer="w", sequence=sequence, batch=batch
            )
            self._connection.metrics.LogMetrics(request)
            return {}

        self._do("rows", wanted, send)

    def _log_lines(self) -> None:
        self._batches += 1
        numbers = [self._lines + index for index in range(1, self._random.randint(2, 50))]
        self._lines = numbers[-1]
        texts = [f"line {number} {content(number, 20).hex()}" for number in numbers]
        wanted = {"run": self._run, "first": numbers[0], "texts": texts}

        def send() -> Mapping[str, Any]:
            lines = [
                run_console_pb2.ConsoleLine(number=number, text=text)
                for number, text in zip(numbers, texts, strict=True)
            ]
            for line in lines:
                line.write_time.GetCurrentTime()
            request = run_console_pb2.LogConsoleLinesRequest(
                run_id=self._run, writer="w", sequence=self._batches, lines=lines
            )
            self._connection.consoles.LogConsoleLines(request)
            return {}

        self._do("lines", wanted, send)

    def _save_files(self) -> None:
        """Files of the run, some in place of earlier ones: one small one, or several together."""
        count = self._random.choice([1, 5])
        most = LARGEST if count == 1 else 20_000
        files = {
            f"kept/{self._random.randrange(30)}.bin": (
                self._random.getrandbits(40), self._random.randint(0, most)
            )
            for _ in range(count)
        }  # fmt: skip
        local = []
        for path, (seed, size) in files.items():
            source = self._folder / path
            source.parent.mkdir(exist_ok=True)
            source.write_bytes(content(seed, size))
            local.append(transfer.LocalFile(path, source))

        def send() -> Mapping[str, Any]:
            self._files.send(local)
            return {}

        self._do("files", {"run": self._run, "files": files}, send)

    def _use(self) -> None:
        """Downloads a version that was acknowledged and compares every byte."""
        logged = [one for one in self._ledger.done("log") if one.wanted["name"] == SHARED]
        if not logged:
            return
        chosen = self._random.choice(logged)
        assert chosen.outcome is not None
        request = model_artifact_pb2.GetModelArtifactVersionRequest(id=chosen.outcome["id"])
        version = self._connection.artifacts.GetModelArtifactVersion(request).version
        with tempfile.TemporaryDirectory(dir=self._folder) as root:
            transfer.download(self._connection, version, Path(root), progress=transfer.SILENT)
            for path, (seed, size) in chosen.wanted["files"].items():
                if (Path(root) / path).read_bytes() != content(seed, size):
                    self._ledger.violate(f"{path} of {SHARED}:v{version.number} has other bytes")

    def _delete(self) -> None:
        version = self._some_version(f"own-{self._given.client}")
        if version is None:
            return
        request = model_artifact_pb2.DeleteModelArtifactVersionRequest(id=version, force=True)
        self._do(
            "delete", {"id": version}, lambda: self._connection.artifacts.DeleteModelArtifactVersion(request)
        )

    def _some_version(self, name: str) -> str | None:
        """An acknowledged version of a name that no delete was sent for."""
        deleted = {one.wanted["id"] for one in self._ledger.operations if one.kind == "delete"}
        found = [
            one.outcome["id"]
            for one in self._ledger.done("log")
            if one.outcome and one.wanted["name"] == name and one.outcome["id"] not in deleted
        ]
        return self._random.choice(found) if found else None

    def _do(self, kind: str, wanted: Mapping[str, Any], send: Callable[[], Any]) -> Operation:
        operation = self._ledger.begin(kind, wanted)
        outcome = send()
        self._ledger.acknowledge(operation, outcome if isinstance(outcome, dict) else {})
        return operation


if __name__ == "__main__":
    assignment = Assignment(**json.loads(sys.stdin.readline()))
    with tempfile.TemporaryDirectory(prefix="modelyard-soak-") as temporary:
        Client(assignment, Path(temporary)).work()
