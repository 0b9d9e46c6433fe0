"""What a client of the soak set out to do and what was acknowledged, one JSON line each.

A line is one write to a file opened for appending, so it survives a kill of its
writer. An operation has a line before it is sent and another with its outcome
once it was acknowledged; one without the second may or may not have happened.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One operation; `outcome` is None where no acknowledgement arrived."""

    number: int
    kind: str
    wanted: Mapping[str, Any]
    outcome: Mapping[str, Any] | None = None


@dataclass
class OperationLog:
    """The operations of one client, over all its processes."""

    path: Path
    operations: list[Operation] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> OperationLog:
        """All that was written so far; empty where there is no file yet."""
        ledger = cls(path)
        begun: dict[int, Operation] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            given = json.loads(line)
            if "violation" in given:
                ledger.violations.append(given["violation"])
            elif "wanted" in given:
                begun[given["number"]] = Operation(given["number"], given["kind"], given["wanted"])
            else:
                operation = begun[given["number"]]
                begun[given["number"]] = Operation(
                    operation.number, operation.kind, operation.wanted, given["outcome"]
                )
        ledger.operations = list(begun.values())
        return ledger

    def begin(self, kind: str, wanted: Mapping[str, Any]) -> Operation:
        """Writes down what is about to be sent."""
        operation = Operation(len(self.operations), kind, wanted)
        self.operations.append(operation)
        self._write(number=operation.number, kind=kind, wanted=wanted)
        return operation

    def acknowledge(self, operation: Operation, outcome: Mapping[str, Any]) -> None:
        """Writes down that the operation took effect."""
        self.operations[operation.number] = Operation(
            operation.number, operation.kind, operation.wanted, outcome
        )
        self._write(number=operation.number, outcome=outcome)

    def violate(self, sentence: str) -> None:
        """Writes down a broken promise that the client itself saw."""
        self.violations.append(sentence)
        self._write(violation=sentence)

    def done(self, kind: str) -> Sequence[Operation]:
        """The acknowledged operations of a kind, oldest first."""
        return [one for one in self.operations if one.kind == kind and one.outcome is not None]

    def _write(self, **line: Any) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")


def content(seed: int, size: int) -> bytes:
    """The bytes that a seed stands for."""
    return random.Random(seed).randbytes(size)
