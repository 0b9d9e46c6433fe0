"""One pass over rows: a snapshot of the database, read as a stream, until the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.orm import Session

from modelyard_server.db.engine import Database, one_snapshot
from modelyard_server.fsck.findings import Corrupt, Finding, Lost, Touched

ROWS = 1_000
"""Rows read at a time; those with many bytes are read by `BYTES_ROWS`."""
BYTES_ROWS = 16
_NOTHING = Touched()


class OutOfTime(Exception):
    """The time that the checks may take is over."""


class Deadline:
    """The end of the time that the checks may take, in seconds from now; None: there is none."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raises OutOfTime."""
        if self._end is not None and time.monotonic() >= self._end:
            raise OutOfTime


@dataclass
class Result:
    """What a check has examined and found."""

    name: str
    examined: int = 0
    findings: list[Finding] = field(default_factory=list)
    complete: bool = True
    error: str = ""
    """Why it could not be made."""
    seconds: float = 0.0

    def add(
        self,
        kind: str,
        message: str,
        about: Mapping[str, str | int],
        touched: Touched = _NOTHING,
        loss: Lost | Corrupt | None = None,
    ) -> None:
        """Adds a finding."""
        self.findings.append(Finding(kind, message, about, touched, loss))


class Scan:
    """The rows as a check sees them, and where it reports to."""

    def __init__(self, session: Session, deadline: Deadline, result: Result) -> None:
        self.session = session
        self.result = result
        self.add = result.add
        self._deadline = deadline
        self._open: list[Any] = []

    def rows(self, statement: Executable, *, at_once: int = ROWS, counted: bool = False) -> Iterator[Any]:
        """The rows of a statement; `counted` ones are what the check examines. Raises OutOfTime."""
        options = {"stream_results": True, "yield_per": at_once}
        found = self.session.execute(statement, execution_options=options)
        self._open.append(found)
        for part in found.partitions():
            self._deadline.check()
            yield from part
            if counted:
                self.result.examined += len(part)

    def close(self) -> None:
        """Closes the streams that were not read to their end."""
        for found in self._open:
            found.close()


RowCheck = Callable[[Scan], None]


def run(database: Database, deadline: Deadline, check: RowCheck, result: Result) -> None:
    """Runs a check of rows in one transaction, which sees one state."""

    def rule(session: Session) -> None:
        one_snapshot(session)
        result.examined, result.complete = 0, True
        result.findings.clear()
        scan = Scan(session, deadline, result)
        try:
            deadline.check()
            check(scan)
        except OutOfTime:
            result.complete = False
        finally:
            scan.close()

    database.read(rule)


class Groups:
    """Rows in the order of their first column, taken group by group in that order."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def take(self, key: Any) -> Iterator[Any]:
        """The rows of a key, which is not less than that of the call before; those before it are skipped."""
        while self._next is not None and self._next[0] < key:
            self._next = next(self._rows, None)
        while self._next is not None and self._next[0] == key:
            row, self._next = self._next, next(self._rows, None)
            yield row
