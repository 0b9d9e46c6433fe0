"""The thread that sends a run's rows to the server. Training never waits for it."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from modelyard.contract import errors
from modelyard.host import forking, terminal
from modelyard.rpc import run_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import value_map
from modelyard.runs import metric_columns
from modelyard.runs.history import History, Row
from modelyard.v1 import metric_pb2
from modelyard.v1 import run_pb2 as pb

TURN_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
_CURVE_POINTS = 200
_OWN_FAILURES = 3
"""Failures of the client itself after which the first request of the queue counts as refused."""

_log = logging.getLogger(__name__)

Fields = Callable[[set[str]], Mapping[str, Any]]
"""Returns the current values of fields of the run, by name: `config.lr`, `notes`, …"""


class Sender(threading.Thread):
    """Sends about once a second, in order, each batch under its (writer, sequence).

    While the server cannot be reached, rows stay in memory, with one warning. A
    batch that is refused is halved until the bad row, or the bad field of the run,
    is found; that one is dropped with a warning, the rest is stored. No error ends
    the thread.
    """

    def __init__(self, connection: Connection, run_id: str, history: History, fields: Fields) -> None:
        super().__init__(name="modelyard-sender", daemon=True)
        self.rows_sent = 0
        self.rows_dropped = 0
        self.last_error: errors.CommError | None = None
        self.curves: dict[str, list[float]] = {}
        self._connection = connection
        self._run_id = run_id
        self._history = history
        self._fields = fields
        self._writer = uuid.uuid4().hex
        self._sequence = 0
        self._unsent: deque[metric_pb2.LogMetricsRequest] = deque()
        self._dirty: set[str] = set()
        self._refused: set[str] = set()
        self._failures = 0
        self._strides: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._last_call = time.monotonic()
        self._stopping = False
        self._turn = forking.lock()
        self._pid = os.getpid()

    def changed(self, field: str) -> None:
        """Marks a field of the run (`config.lr`, `notes`) to be sent."""
        with self._history.lock:
            self._dirty.add(field)
            self._refused.discard(field)

    def run(self) -> None:
        """Flushes about once a second until `stop`."""
        while not self._stopping:
            self._history.wake.wait(TURN_SECONDS)
            self._history.wake.clear()
            if not self._stopping:
                self.flush()

    def stop(self) -> None:
        """Sends the remaining rows and ends. CommError when rows could not be sent."""
        self._stopping = True
        self._history.wake.set()
        with self._history.lock:
            # Try refused fields again: one that was too large beside others may fit now.
            self._dirty |= self._refused
            self._refused.clear()
        self.flush()
        if self._unsent or self._dirty:
            raise self.last_error or errors.CommError("rows of the run could not be sent")

    def flush(self) -> None:
        """Sends everything logged so far. Raises nothing; the error is in `last_error`, with a warning."""
        if os.getpid() != self._pid:
            return  # in a forked child: its rows would replace the parent's under the same numbers
        with self._turn:
            try:
                self._collect()
                self._send_batches()
                self._send_fields()
                self._send_heartbeat()
            except (errors.RunFinished, errors.NotFound) as error:
                self._drop_all(error)
            except errors.CommError as error:
                self._keep_for_retry(error)
            except Exception as error:  # a defect of this code must not end the thread
                _log.info("the sender of run %s failed", self._run_id, exc_info=True)
                self._failures += 1
                self._keep_for_retry(
                    errors.CommError(f"rows cannot be sent: {type(error).__name__}: {error}")
                )
            else:
                self.last_error = None

    def _keep_for_retry(self, error: errors.CommError) -> None:
        if self.last_error is None and not self._stopping:
            terminal.termwarn(
                f"{error}. Rows are kept in memory and sent when the server can be reached", repeat=False
            )
        self.last_error = error

    def _collect(self) -> None:
        taken = self._history.take()
        summary = {key: item for key, item in taken.summary.items() if f"summary.{key}" not in self._refused}
        packed = list(metric_columns.pack(taken.rows, self._drop_row))
        for index, batch in enumerate(packed):
            request = self._request(batch)
            if index == len(packed) - 1:
                # With the last batch, so that the summary is not newer than the rows.
                self._add_summary(request, summary)
            self._unsent.append(request)
        with self._history.lock:
            self._dirty.update(f"summary.{key}" for key in taken.removed)
            if not packed:
                self._dirty.update(f"summary.{key}" for key in summary)
        self._sample_curves(taken.rows)

    def _request(self, batch: metric_pb2.MetricBatch) -> metric_pb2.LogMetricsRequest:
        self._sequence += 1
        return metric_pb2.LogMetricsRequest(
            run_id=self._run_id,
            writer=self._writer,
            sequence=self._sequence,
            batch=batch,
            summary_mode=metric_pb2.SUMMARY_MODE_GIVEN,
        )

    def _add_summary(self, request: metric_pb2.LogMetricsRequest, summary: Mapping[str, Any]) -> None:
        try:
            for key, message in value_map(summary).items():
                request.summary[key].CopyFrom(message)
        except Exception:  # an entry cannot be converted; `_send_fields` finds which
            self._summary_apart(request, summary)

    def _summary_apart(self, request: metric_pb2.LogMetricsRequest, keys: Iterable[str]) -> None:
        """Removes the summary from a request of rows; its entries are sent as fields."""
        with self._history.lock:
            self._dirty.update(f"summary.{key}" for key in keys)
        request.summary.clear()

    def _send_batches(self) -> None:
        while self._unsent:
            request = self._unsent[0]
            try:
                self._connection.metrics.LogMetrics(request)
            except Exception as error:
                if not self._is_refusal(error):
                    raise
                self._unsent.popleft()
                self._unsent.extendleft(reversed(self._divided(request, error)))
                continue
            self.rows_sent += len(request.batch.steps)
            self._unsent.popleft()
            self._failures = 0
            self._last_call = time.monotonic()

    def _is_refusal(self, error: Exception) -> bool:
        """Whether sending the request again would fail in the same way."""
        if isinstance(error, errors.CommError):
            return error.code == errors.InvalidField.code or isinstance(error, errors.QuotaExceeded)
        return self._failures >= _OWN_FAILURES

    def _divided(
        self, request: metric_pb2.LogMetricsRequest, error: Exception
    ) -> list[metric_pb2.LogMetricsRequest]:
        """The requests to send instead of one that was refused."""
        if request.summary:
            self._summary_apart(request, list(request.summary))
            return [request]
        if len(request.batch.steps) > 1:
            return [self._request(half) for half in metric_columns.halves(request.batch)]
        self._drop_row(request.batch.steps[0], f"was refused: {error}")
        return []

    def _drop_row(self, step: int, why: str) -> None:
        self.rows_dropped += 1
        terminal.warn_once(f"row of {self._run_id}", f"the row of step {step} is dropped: it {why}")

    def _send_fields(self) -> None:
        with self._history.lock:
            names, self._dirty = sorted(self._dirty - self._refused), set()
        groups = [names] if names else []
        while groups:
            group = groups.pop()
            try:
                self._update(group)
            except Exception as error:
                if isinstance(error, errors.CommError) and not self._is_refusal(error):
                    with self._history.lock:
                        self._dirty.update(group, *groups)
                    raise
                middle = len(group) // 2
                if middle:
                    groups += [group[middle:], group[:middle]]
                else:
                    self._refuse(group[0], error)

    def _update(self, names: Sequence[str]) -> None:
        run = pb.Run(id=self._run_id)
        self._fill(run, self._fields(set(names)))
        self._connection.runs.UpdateRun(run_calls.update_request(run, names))
        self._last_call = time.monotonic()

    def _refuse(self, name: str, error: Exception) -> None:
        """Stops sending a field until the run ends."""
        with self._history.lock:
            self._refused.add(name)
        terminal.warn_once(f"refused {self._run_id} {name}", f"{name} of the run was refused: {error}")

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

    def _drop_all(self, error: errors.RunFinished | errors.NotFound) -> None:
        how = "ended" if isinstance(error, errors.RunFinished) else "deleted"
        terminal.termwarn(
            f"the run was {how} from outside, what it logs now is dropped: {error}", repeat=False
        )
        self.rows_dropped += sum(len(request.batch.steps) for request in self._unsent)
        self._unsent.clear()
        self._dirty.clear()

    def _sample_curves(self, rows: list[Row]) -> None:
        """Keeps a sample of each metric for the closing lines."""
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
