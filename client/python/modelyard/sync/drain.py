"""Reads the spools of a run and sends what they hold: the same code while the run goes on and later.

Only one process drains a run at a time, which `RunFolder.lock` ensures. Memory is
bounded: the next records of a spool are read when those before them are sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelyard.host import terminal
from modelyard.rpc.connection import Connection
from modelyard.spool import folders, records
from modelyard.spool.folders import RunFolder
from modelyard.spool.open_spool import OpenSpool
from modelyard.spool.reader import Chunk, Position
from modelyard.spool.rows import Row
from modelyard.spool.writer import SpoolWriter
from modelyard.sync.captured import CapturedSender
from modelyard.sync.curves import Curves
from modelyard.sync.destination import Destination
from modelyard.sync.rows import RowSender
from modelyard.sync.run_fields import DEFINITIONS, RunFields
from modelyard.sync.summary import SummaryReplay
from modelyard.v1 import run_pb2 as pb

_SETTLED_NS = 2_000_000_000

Action = Callable[[Mapping[str, Any]], None]
"""Does what a record of a kind says, once more if it is interrupted. Errors: CommError."""


class Drain:
    """Sends the spools of one run. Not safe for threads.

    `own` is the writer of this process, whose records may be in memory. `actions`
    are taken for records of other kinds than rows, fields and summary, after
    everything before them was sent.
    """

    def __init__(
        self,
        connection: Connection,
        destination: Destination,
        folder: RunFolder,
        summary: SummaryReplay,
        *,
        own: SpoolWriter | None = None,
        actions: Mapping[int, Action] | None = None,
        keeps_sent: bool = False,
    ) -> None:
        self.curves = Curves()
        self.rows_dropped = 0
        self.finish: Mapping[str, Any] | None = None
        """The content of the FINISH record, once it was reached."""
        self.progress = 0
        """Grows with everything that is sent."""
        self.fields = RunFields(connection, destination)
        self._connection = connection
        self._destination = destination
        self._folder = folder
        self._summary = summary
        self._own = own
        self._actions = actions or {}
        self._keeps_sent = keeps_sent
        self._positions = folder.row_spools.positions
        self._spools: dict[str, _Spool] = {}
        self._listed = 0
        self._rows_of_removed = 0
        self._definitions: dict[str, Mapping[str, Any]] = {}

    @property
    def rows_sent(self) -> int:
        """Rows that were stored by this process."""
        return self._rows_of_removed + sum(spool.rows.sent for spool in self._spools.values())

    def turn(self, *, final: bool = False) -> None:
        """Sends everything that is in the spools now. `final`: open rows of ended writers, too.

        Errors: CommError, and the next turn goes on where this one stopped.
        """
        for spool in self._found(anew=final):
            # A row that is open in a process that lives may still grow.
            has_ended = final and (spool.is_own or not folders.is_written(spool.path))
            self._send_all(spool, final=has_ended)
            if not (spool.is_own or self._keeps_sent):
                self._remove_ended(spool)
        self._send_fields()

    def end_run(self) -> None:
        """Ends the run as its FINISH record says, if that was reached. Errors: CommError, NotFound."""
        if self.finish is not None:
            state = pb.RUN_STATE_KILLED if self.finish["killed"] else pb.RUN_STATE_UNSPECIFIED
            request = pb.FinishRunRequest(
                id=self._destination.run_id,
                attempt=self._destination.attempt,
                exit_code=self.finish["exit_code"],
                state=state,
            )
            request.read_mask.paths.append("state")
            self._connection.runs.FinishRun(request)

    def drop_all(self) -> None:
        """Counts what is in the spools as dropped: the run does not exist any more, or has ended."""
        for spool in self._found(anew=True):
            while chunk := spool.take(final=False):
                self.rows_dropped += sum(isinstance(item, Row) for item in chunk.items)
                self._take_finish(chunk)
                spool.done()
        self.fields.clear()

    def unsent_rows(self) -> int:
        """How many rows of this process wait."""
        if self._own is None:
            return 0
        spool = self._spools.get(self._own.writer)
        return self._own.rows - (spool.rows.cursor if spool else 0)

    def _found(self, *, anew: bool) -> list[_Spool]:
        """The spools of all writers; this process's first.

        Unless `anew`, their folder is listed only if it has changed, or did lately: two
        changes may have the same time.
        """
        changed = self._folder.row_spools.changed
        if anew or changed != self._listed or time.time_ns() - changed < _SETTLED_NS:
            self._list_spools()
            self._listed = changed
        return list(self._spools.values())

    def _list_spools(self) -> None:
        paths = {path.name: path for path in self._folder.row_spools.writers()}
        if self._own is not None:
            paths = {self._own.writer: self._own.folder, **paths}
        for writer, path in paths.items():
            if writer not in self._spools:
                self._spools[writer] = self._open(writer, path)

    def _open(self, writer: str, path: Path) -> _Spool:
        own = self._own if self._own is not None and self._own.writer == writer else None
        position = self._positions.get(writer, Position())
        rows = RowSender(self._connection, self._destination, writer, position.row, self._drop_row)
        captured = CapturedSender(self._connection, self._destination, writer)
        return _Spool(path, position, rows, captured, own)

    def _send_all(self, spool: _Spool, *, final: bool) -> None:
        while self._send_next(spool, final=final):
            pass

    def _remove_ended(self, spool: _Spool) -> None:
        """Removes the spool of a process that has ended, such as a worker of a pool, once it is sent."""
        lock = folders.take_ended(spool.path)
        if lock is None:
            return
        try:
            self._send_all(spool, final=True)
            if self.finish is None:
                folders.remove_spool(spool.path)
                self._rows_of_removed += spool.rows.sent
                del self._spools[spool.path.name]
                self._positions.pop(spool.path.name, None)
        finally:
            lock.release()

    def _send_next(self, spool: _Spool, *, final: bool) -> bool:
        """Sends the next part of a spool; False when there is none."""
        is_new = spool.chunk is None
        chunk = spool.take(final=final)
        if chunk is None:
            return False
        if is_new:
            self._observe(chunk)
        if not spool.rows_are_sent:
            self._send_rows(spool, chunk)
        spool.captured.send(chunk.items)
        for item in spool.actions_left(self._actions):
            self._send_fields()
            self._actions[item.kind](item.content)
            spool.actions_done += 1
        self._send_fields()
        spool.done()
        self.progress += 1
        if self.finish is None:
            # With the end of the run nothing is recorded, so that an interrupted one comes here again.
            self._keep_sent()
        return True

    def _observe(self, chunk: Chunk) -> None:
        """Takes what a part changes in the summary and the fields, in its order."""
        rows: list[Row] = []
        for item in chunk.items:
            if isinstance(item, Row):
                rows.append(item)
                continue
            if item.kind == records.FIELDS:
                self.fields.change(item.content["set"], item.content["removed"])
            elif item.kind in {records.SUMMARY, records.DEFINITION}:
                self._summary.observe(rows)
                rows = []
                self._observe_change(item.kind, item.content)
        self._summary.observe(rows)
        self.curves.add([item for item in chunk.items if isinstance(item, Row)])
        self._take_finish(chunk)

    def _observe_change(self, kind: int, content: Mapping[str, Any]) -> None:
        if kind == records.DEFINITION:
            self._summary.define(content)
            if self._definitions.get(content["name"]) != content:  # each file of a spool repeats them
                self._definitions[content["name"]] = content
                self.fields.change({f"{DEFINITIONS}.{content['name']}": content})
        else:
            self._summary.change(content["set"], content["removed"])

    def _take_finish(self, chunk: Chunk) -> None:
        for item in chunk.items:
            if not isinstance(item, Row) and item.kind == records.FINISH:
                self.finish = item.content

    def _send_rows(self, spool: _Spool, chunk: Chunk) -> None:
        entries, removed = self._summary.take_changed()
        self.fields.change({}, [f"summary.{key}" for key in removed])
        spool.summary |= self.fields.without_refused("summary", entries)
        rows = [item for item in chunk.items if isinstance(item, Row)]

        def apart() -> None:
            self.fields.change({f"summary.{key}": value for key, value in spool.summary.items()})
            spool.summary = {}

        if rows:
            spool.rows.send(rows, chunk.first_row, spool.summary, apart)
            spool.summary = {}
        else:
            apart()
        spool.rows_are_sent = True

    def _send_fields(self) -> None:
        if self.fields.send():
            self.progress += 1

    def _keep_sent(self) -> None:
        for writer, spool in self._spools.items():
            self._positions[writer] = spool.position
        self._folder.row_spools.keep_sent(self._positions, summary=dict(self._summary.state()))
        if not self._keeps_sent:
            for spool in self._spools.values():
                spool.discard_sent()

    def _drop_row(self, step: int, why: str) -> None:
        self.rows_dropped += 1
        terminal.warn_once(
            f"row of {self._destination.run_id}", f"the row of step {step} is dropped: it {why}"
        )


class _Spool(OpenSpool):
    """How far one spool is read and sent."""

    def __init__(
        self,
        path: Path,
        position: Position,
        rows: RowSender,
        captured: CapturedSender,
        own: SpoolWriter | None,
    ) -> None:
        super().__init__(path, position, own)
        self.rows = rows
        self.captured = captured
        self.rows_are_sent = False
        self.actions_done = 0
        self.summary: dict[str, Any] = {}
        """Entries of the summary to be sent with the present part."""

    def actions_left(self, known: Mapping[int, Action]) -> list[records.Record]:
        """The records of the present part that ask for an action that was not taken yet."""
        items = self.chunk.items if self.chunk else ()
        asked = [item for item in items if isinstance(item, records.Record) and item.kind in known]
        return asked[self.actions_done :]

    def done(self) -> None:
        """The present part is sent."""
        super().done()
        self.rows_are_sent, self.actions_done = False, 0
