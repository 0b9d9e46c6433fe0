"""The thread that brings a run's rows to the server. Training never waits for it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelyard import batches, errors, terminal
from modelyard.catalog import value_map
from modelyard.connection import Connection
from modelyard.history import History, Row
from modelyard.v1 import run_pb2 as pb

TURN_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
_CURVE_POINTS = 200

Fields = Callable[[set[str]], Mapping[str, Any]]
"""The present values of fields of the run, by name: `config.lr`, `notes`, …"""


class Sender(threading.Thread):
    """Sends about once a second, in order, each batch under its (writer, sequence).

    What the server did not take stays in memory and is sent again: a server
    that is away costs nothing but memory. One warning says so.
    """

    def __init__(self, connection: Connection, run_id: str, history: History, fields: Fields) -> None:
        super().__init__(name="modelyard-sender", daemon=True)
        self.rows_sent = 0
        self.trouble: errors.CommError | None = None
        self.curves: dict[str, list[float]] = {}
        self._connection = connection
        self._run_id = run_id
        self._history = history
        self._fields = fields
        self._writer = uuid.uuid4().hex
        self._sequence = 0
        self._unsent: deque[pb.LogMetricsRequest] = deque()
        self._dirty: set[str] = set()
        self._strides: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._last_call = time.monotonic()
        self._stopping = False
        self._turn = threading.Lock()

    def changed(self, field: str) -> None:
        """A field of the run (`config.lr`, `notes`) changed and is to be sent."""
        with self._history.lock:
            self._dirty.add(field)

    def run(self) -> None:
        """Turn after turn until `stop`."""
        while not self._stopping:
            self._history.wake.wait(TURN_SECONDS)
            self._history.wake.clear()
            if not self._stopping:
                self.flush()

    def stop(self) -> None:
        """Sends what is left and ends. CommError when rows could not be sent."""
        self._stopping = True
        self._history.wake.set()
        self.flush()
        if self._unsent or self._dirty:
            raise self.trouble or errors.CommError("rows of the run could not be sent")

    def flush(self) -> None:
        """Sends everything logged so far; trouble is kept in `trouble` and warned of once."""
        with self._turn:
            self._collect()
            try:
                self._send_batches()
                self._send_fields()
                self._send_heartbeat()
            except errors.RunFinished as error:
                self._give_up(error)
            except errors.CommError as error:
                if self.trouble is None and not self._stopping:
                    terminal.termwarn(
                        f"{error}. Rows wait in memory and go when the server is back", repeat=False
                    )
                self.trouble = error
            else:
                self.trouble = None

    def _collect(self) -> None:
        taken = self._history.take()
        self._draw(taken.rows)
        packed = list(batches.pack(taken.rows))
        for index, batch in enumerate(packed):
            request = pb.LogMetricsRequest(
                run_id=self._run_id,
                writer=self._writer,
                sequence=self._sequence,
                batch=batch,
                summary_mode=pb.SUMMARY_MODE_GIVEN,
            )
            self._sequence += 1
            if index == len(packed) - 1:
                # With the last batch: the summary never runs ahead of the rows.
                self._add_summary(request, taken.summary)
            self._unsent.append(request)
        self._dirty.update(f"summary.{key}" for key in taken.removed)
        if not packed:
            self._dirty.update(f"summary.{key}" for key in taken.summary)

    def _add_summary(self, request: pb.LogMetricsRequest, summary: Mapping[str, Any]) -> None:
        for key, message in value_map(summary).items():
            request.summary[key].CopyFrom(message)

    def _send_batches(self) -> None:
        while self._unsent:
            request = self._unsent[0]
            try:
                self._connection.runs.LogMetrics(request)
                self.rows_sent += len(request.batch.steps)
            except (errors.InvalidField, errors.QuotaExceeded) as error:
                # Sending the same again would fail the same, and hold up all that follows.
                terminal.termwarn(f"{len(request.batch.steps)} rows were refused and are dropped: {error}")
            self._unsent.popleft()
            self._last_call = time.monotonic()

    def _send_fields(self) -> None:
        with self._history.lock:
            names, self._dirty = self._dirty, set()
        if not names:
            return
        run = pb.Run(id=self._run_id)
        try:
            self._fill(run, self._fields(names))
            self._connection.runs.UpdateRun(
                pb.UpdateRunRequest(run=run, update_mask=FieldMask(paths=sorted(names)))
            )
            self._last_call = time.monotonic()
        except errors.InvalidField as error:
            terminal.termwarn(f"changes of the run were refused: {error}")
        except errors.CommError:
            with self._history.lock:
                self._dirty |= names
            raise

    def _fill(self, run: pb.Run, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            part, _, key = name.partition(".")
            if key:
                getattr(run, part)[key].CopyFrom(value_map({key: value})[key])
            elif part == "tags":
                run.tags.extend(value)
            else:
                setattr(run, part, value)

    def _send_heartbeat(self) -> None:
        if time.monotonic() - self._last_call < HEARTBEAT_SECONDS:
            return
        self._connection.runs.HeartbeatRun(pb.HeartbeatRunRequest(id=self._run_id))
        self._last_call = time.monotonic()

    def _give_up(self, error: errors.RunFinished) -> None:
        terminal.termwarn(
            f"the run was ended from outside, what it logs now is dropped: {error}", repeat=False
        )
        self._unsent.clear()
        self._dirty.clear()

    def _draw(self, rows: list[Row]) -> None:
        """Keeps a thinned curve of each metric for the closing lines."""
        for row in rows:
            for key, point in row.points.items():
                if type(point) is not float and type(point) is not int:
                    continue
                seen = self._seen[key] = self._seen.get(key, -1) + 1
                stride = self._strides.get(key, 1)
                if seen % stride:
                    continue
                curve = self.curves.setdefault(key, [])
                curve.append(float(point))
                if len(curve) >= _CURVE_POINTS:
                    del curve[1::2]
                    self._strides[key] = stride * 2
