"""Sends what runs record by themselves: rows of the machine's metrics, and lines of the console.

Sending the same again stores nothing twice: rows have numbers, as other rows have, and
a line replaces the earlier one of its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.rpc.connection import Connection
from modelyard.spool import records
from modelyard.spool.records import Record
from modelyard.spool.rows import Row
from modelyard.sync.destination import Destination, is_refusal
from modelyard.sync.rows import RowSender
from modelyard.v1 import metric_pb2, run_console_pb2

REQUEST_BYTES = 1 << 20
"""About the most text of lines in one request, of the 3 MiB that it may have."""
REQUEST_LINES = 5_000
_STREAMS = {
    "stdout": run_console_pb2.CONSOLE_STREAM_STDOUT,
    "stderr": run_console_pb2.CONSOLE_STREAM_STDERR,
}


class CapturedSender:
    """Sends the records of one writer. What the server refuses for good is dropped with one warning."""

    def __init__(self, connection: Connection, destination: Destination, writer: str) -> None:
        self._connection = connection
        self._destination = destination
        self._writer = writer
        # The server tells batches of both streams by writer and number, and these have numbers of their own.
        system = f"{writer}-system"
        self._rows = RowSender(connection, destination, system, 0, _drop_row, metric_pb2.METRIC_STREAM_SYSTEM)

    def send(self, items: Iterable[Any]) -> None:
        """Sends the records of both kinds among some. Errors: CommError that is no refusal."""
        captured = [item for item in items if isinstance(item, Record)]
        for rows in _in_sequence([item.content for item in captured if item.kind == records.SYSTEM]):
            first = rows[0]["number"]
            self._rows.cursor = max(self._rows.cursor, first)
            self._rows.send([_row(row) for row in rows], first, {}, lambda: None)
        for batch in _in_requests([item.content for item in captured if item.kind == records.CONSOLE]):
            try:
                self._send_lines(batch)
            except errors.CommError as error:
                if not (is_refusal(error) or isinstance(error, errors.Unimplemented)):
                    raise
                terminal.warn_once("console lines", f"lines of the console are not sent: {error}")

    def _send_lines(self, batch: Sequence[Mapping[str, Any]]) -> None:
        lines = {line[0]: (content["process"], line) for content in batch for line in content["lines"]}
        request = run_console_pb2.LogConsoleLinesRequest(
            run_id=self._destination.run_id,
            writer=self._writer,
            sequence=batch[-1]["number"],
            lines=[_line(process, line) for _, (process, line) in sorted(lines.items())],
            attempt=self._destination.attempt,
            late=self._destination.late,
        )
        self._connection.consoles.LogConsoleLines(request)


def _in_sequence(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The rows in parts without a gap in their numbers, which a damaged file may have."""
    part: list[Mapping[str, Any]] = []
    for row in rows:
        if part and row["number"] != part[-1]["number"] + 1:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _in_requests(contents: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The records of lines in parts that fit a request."""
    part: list[Mapping[str, Any]] = []
    size = count = 0
    for content in contents:
        more = sum(4 * len(line[3]) for line in content["lines"])
        if part and (size + more > REQUEST_BYTES or count + len(content["lines"]) > REQUEST_LINES):
            yield part
            part, size, count = [], 0, 0
        part.append(content)
        size += more
        count += len(content["lines"])
    if part:
        yield part


def _row(content: Mapping[str, Any]) -> Row:
    points = content["points"]
    return Row(content["number"], content["time"], tuple(points), tuple(points.values()))


def _line(process: str, line: Sequence[Any]) -> run_console_pb2.ConsoleLine:
    number, moment, stream, text = line
    time = Timestamp()
    time.FromMicroseconds(int(moment * 1e6))
    return run_console_pb2.ConsoleLine(
        number=number, write_time=time, stream=_STREAMS[stream], text=text, process=process
    )


def _drop_row(step: int, why: str) -> None:
    terminal.warn_once("system rows", f"a row of system metrics is dropped: it {why}")
