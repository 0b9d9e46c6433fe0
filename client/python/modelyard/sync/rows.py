"""Sends the rows of one writer, each once, whatever was sent before.

The sequence of a batch is the number of its first row, from 1, and the reply says
how many rows are stored under it. So a writer's rows may be sent again from the
beginning of any earlier batch: the server skips what it has, and so does the cursor
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard.contract import errors
from modelyard.contract.limits import METRIC_BATCH_BYTES
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_map
from modelyard.spool.rows import Row
from modelyard.sync import metric_columns
from modelyard.sync.destination import Destination, is_refusal
from modelyard.v1 import metric_pb2 as pb

BATCH_ROWS = 10_000
_OWN_FAILURES = 3
"""Failures of this code itself after which a batch counts as refused."""


class Unsendable(ValueError):
    """Rows or entries cannot be made into a message."""


class RowSender:
    """Sends rows of one writer from `cursor` on, the number of the first one that is not stored.

    A batch that is refused is halved until the bad row is found; that one is dropped.
    """

    def __init__(
        self,
        connection: Connection,
        destination: Destination,
        writer: str,
        cursor: int,
        dropped: Callable[[int, str], None],
        stream: pb.MetricStream.ValueType = pb.METRIC_STREAM_HISTORY,
    ) -> None:
        self.cursor = cursor
        self.sent = 0
        self._connection = connection
        self._destination = destination
        self._writer = writer
        self._dropped = dropped
        self._stream = stream
        self._failures = 0

    def send(
        self, rows: Sequence[Row], first: int, summary: Mapping[str, Any], apart: Callable[[], None]
    ) -> None:
        """Sends rows that are numbered from `first` on, and entries of the summary with the last ones.

        `apart` is called if the entries cannot be sent with rows. After an error it is
        called again with the same rows. Errors: CommError that is no refusal.
        """
        end, most = first + len(rows), BATCH_ROWS
        while self.cursor < end:
            start = max(self.cursor - first, 0)
            part = rows[start : start + most]
            entries = summary if start + len(part) == len(rows) else {}
            try:
                stored = self._send_batch(part, first + start, entries)
            except Exception as error:
                if not self._is_refusal(error):
                    raise
                if entries:
                    apart()
                    summary = {}
                elif len(part) > 1:
                    most = len(part) // 2
                else:
                    self._dropped(part[0].step, f"was refused: {error}")
                    self.cursor, most = first + start + 1, BATCH_ROWS
                continue
            self.cursor, most = first + start + stored, BATCH_ROWS

    def _send_batch(self, rows: Sequence[Row], first: int, summary: Mapping[str, Any]) -> int:
        """How many rows are stored under the number of the first one."""
        request = pb.LogMetricsRequest(
            run_id=self._destination.run_id,
            writer=self._writer,
            sequence=first + 1,
            batch=_message(rows),
            summary_mode=pb.SUMMARY_MODE_GIVEN,
            stream=self._stream,
            attempt=self._destination.attempt,
            late=self._destination.late,
        )
        try:
            for key, message in value_map(summary).items():
                request.summary[key].CopyFrom(message)
        except Exception as error:
            raise Unsendable(str(error)) from error
        try:
            reply = self._connection.metrics.LogMetrics(request)
        except errors.CommError:
            raise
        except Exception:
            self._failures += 1
            raise
        self._failures = 0
        self.sent += 0 if reply.duplicate else len(rows)
        return int(reply.row_count) or len(rows)

    def _is_refusal(self, error: Exception) -> bool:
        if isinstance(error, Unsendable):
            return True
        return is_refusal(error) or (
            not isinstance(error, errors.CommError) and self._failures >= _OWN_FAILURES
        )


def _message(rows: Sequence[Row]) -> pb.MetricBatch:
    try:
        batch = metric_columns.batch(rows)
    except Exception as error:  # whatever the reason, the other rows are sent
        raise Unsendable(f"{type(error).__name__}: {error}") from error
    if batch.ByteSize() > METRIC_BATCH_BYTES:
        raise Unsendable("it is larger than 3 MiB")
    return batch
