"""Follows a run: a view that is redrawn in place on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import os
import queue
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelyard.cli.output import coloured, print_json_text
from modelyard.cli.runs.curves import Curves
from modelyard.cli.runs.screen import Screen
from modelyard.contract import errors
from modelyard.contract.streams import echo
from modelyard.contract.values import to_json
from modelyard.host.terminal import is_terminal
from modelyard.public_runs.public_run import PublicRun
from modelyard.rpc.metric_scan import AUTOMATIC
from modelyard.rpc.retry import is_retryable
from modelyard.runs.report import short_text

_PAUSE_SECONDS = 1.0
_SAMPLES = 1_000
_COLOURS = {"running": "blue", "finished": "green", "failed": "red", "crashed": "red", "killed": "yellow"}
_ROW_VALUES = 8
_News = tuple[PublicRun, list[dict[str, Any]]]
"""The run as it is, and rows that are new."""


def follow(run: PublicRun, keys: Sequence[str], json: bool) -> None:
    """Shows the run until it ends, is deleted, or Ctrl-C. Errors: those of calls."""
    in_place = is_terminal(sys.stdout) and os.environ.get("TERM", "dumb") != "dumb"
    show: _View = _JsonLines(keys) if json else _Picture(keys) if in_place else _Lines(keys)
    # Calls are made by another thread: Ctrl-C must not wait for one that hangs.
    news: queue.SimpleQueue[_News | Exception | None] = queue.SimpleQueue()
    stopped = threading.Event()
    threading.Thread(target=_read, args=(run, news, stopped), daemon=True).start()
    with contextlib.closing(show):
        try:
            while (item := news.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                show.update(*item)
        except KeyboardInterrupt:
            show.close()
            echo(f"Follow it again: modelyard run watch {'/'.join(run.path)}", err=True)
        finally:
            stopped.set()


class _View:
    """What a view has: `update` with new rows and the run as it is, and `close`."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = frozenset(keys)
        self._state = ""

    def update(self, run: PublicRun, rows: Sequence[Mapping[str, Any]]) -> None:
        """Shows the rows, and the state if it changed."""
        for row in rows:
            self.row(row)
        if run.state != self._state:
            self._state = run.state
            self.state(run)

    def row(self, row: Mapping[str, Any]) -> None:
        """Shows a row."""

    def state(self, run: PublicRun) -> None:
        """Shows a new state."""

    def close(self) -> None:
        """Ends the view."""

    def _wanted(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: row[key] for key in row if key not in AUTOMATIC and (not self._keys or key in self._keys)
        }


class _Lines(_View):
    """A line for each row and each state."""

    def row(self, row: Mapping[str, Any]) -> None:
        values = list(self._wanted(row).items())
        if not values:
            return
        texts = [f"{key}={short_text(value)}" for key, value in values[:_ROW_VALUES]]
        texts += [f"… and {len(values) - _ROW_VALUES} more"] if len(values) > _ROW_VALUES else []
        echo(f"step {row['_step']}  " + "  ".join(texts))

    def state(self, run: PublicRun) -> None:
        echo(f"{'/'.join(run.path)} ({run.name}) {_state(run)}")


class _JsonLines(_View):
    """A line of JSON for each row and each state."""

    def row(self, row: Mapping[str, Any]) -> None:
        values = self._wanted(row)
        if values:
            print_json_text(to_json({"_step": row["_step"], "_timestamp": row["_timestamp"], **values}))

    def state(self, run: PublicRun) -> None:
        print_json_text({"run": "/".join(run.path), "state": run.state, "exit_code": run.exit_code})


class _Picture(_View):
    """The state and the curves, redrawn in place."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys)
        self._curves = Curves(keys)
        self._screen = Screen()

    def update(self, run: PublicRun, rows: Sequence[Mapping[str, Any]]) -> None:
        self._curves.add(rows)
        columns, height = self._screen.size()
        head = [
            f"{coloured(run.name, bold=True)}  {coloured(_state(run), _COLOURS.get(run.state))}  "
            f"{_duration(run)}  step {max(0, run.lastHistoryStep):,}",
            "/".join(run.path),
        ]
        curves = self._curves.lines(columns, max(0, height - len(head) - 1))
        self._screen.draw([*head[: max(1, height)], *(["", *curves] if curves else [])])

    def close(self) -> None:
        self._screen.close()


def _read(
    run: PublicRun, news: queue.SimpleQueue[_News | Exception | None], stopped: threading.Event
) -> None:
    try:
        for item in _changes(run, stopped):
            news.put(item)
        news.put(None)
    except Exception as error:  # for the thread that shows
        news.put(error)


def _changes(run: PublicRun, stopped: threading.Event) -> Iterator[_News]:
    """The rows of the run up to now, if many a sample of them; then new ones, until it ends."""
    attempt, next_step = 0, 0
    while not stopped.is_set():
        try:
            # The state is read before the rows: when it says that the run ended, the rows are the last ones.
            now = PublicRun(run._workspace, run.load()._record)
            if now.attempt != attempt:
                rows = now.history(samples=_SAMPLES, pandas=False)
            else:
                rows = list(now.scan_history(min_step=next_step))
        except errors.CommError as error:
            if not is_retryable(error):
                raise
        else:
            next_step = max([next_step if now.attempt == attempt else 0, *(row["_step"] + 1 for row in rows)])
            attempt = now.attempt
            yield now, rows
            if now.state != "running":
                return
        stopped.wait(_PAUSE_SECONDS)


def _state(run: PublicRun) -> str:
    return f"{run.state} (exit code {run.exit_code})" if run.exit_code else str(run.state)


def _duration(run: PublicRun) -> str:
    """How long it runs or ran: `1:02:03`."""
    record = run._record
    end = record.finish_time or (
        datetime.datetime.now(datetime.UTC) if run.state == "running" else record.heartbeat_time
    )
    seconds = max(0, int(((end or record.create_time) - record.create_time).total_seconds()))
    return str(datetime.timedelta(seconds=seconds))
