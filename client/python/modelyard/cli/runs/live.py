"""Follows a run: a view that is redrawn in place on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import os
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelyard.cli.output import coloured, print_json_text
from modelyard.cli.runs.curves import Curves
from modelyard.cli.runs.screen import Screen, cut_coloured
from modelyard.contract.streams import echo
from modelyard.contract.values import to_json
from modelyard.host import waiting
from modelyard.host.terminal import is_terminal
from modelyard.public_runs.following import Following, News
from modelyard.public_runs.public_run import PublicRun
from modelyard.rpc.metric_scan import AUTOMATIC
from modelyard.rpc.records import ConsoleLine, RunRecord
from modelyard.runs.report import short_text

_SAMPLES = 1_000
_COLOURS = {"running": "blue", "finished": "green", "failed": "red", "crashed": "red", "killed": "yellow"}
_ROW_VALUES = 8
_LINE_WIDTH = 1_000
_LINES_KEPT = 500


def follow(run: PublicRun, keys: Sequence[str], json: bool) -> None:
    """Shows the run until it ends, is deleted, or Ctrl-C. Errors: those of calls."""
    in_place = is_terminal(sys.stdout) and os.environ.get("TERM", "dumb") != "dumb"
    view: _View = _JsonLines(keys) if json else _Picture(keys) if in_place else _Lines(keys)
    past = view.past(run)
    following = Following(run._workspace.connection, run._record, min_step=past.next_step)
    # Calls are made by another thread: Ctrl-C must not wait for one that hangs.
    news: queue.SimpleQueue[News | Exception | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(following, news), daemon=True).start()
    with contextlib.closing(following), contextlib.closing(view):
        try:
            if past.news:
                view.update(past.news)
            while (item := _next_of(news)) is not None:
                if isinstance(item, Exception):
                    raise item
                view.update(item)
        except KeyboardInterrupt:
            view.close()
            echo(f"Follow it again: modelyard run watch {'/'.join(run.path)}", err=True)


def _next_of(news: queue.SimpleQueue[News | Exception | None]) -> News | Exception | None:
    while True:
        with contextlib.suppress(queue.Empty):
            return news.get(timeout=waiting.STEP_SECONDS)


def _read(following: Following, news: queue.SimpleQueue[News | Exception | None]) -> None:
    try:
        for item in following:
            news.put(item)
        news.put(None)
    except Exception as error:  # for the thread that shows
        news.put(error)


class _Past(NamedTuple):
    """What a view shows first, and the step from which on the rows are news."""

    news: News | None
    next_step: int


class _View:
    """What a view has: `update` with news, and `close`."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = frozenset(keys)
        self._state = ""
        self._numbers: dict[str, int] = {}

    def update(self, news: News) -> None:
        """Shows new rows and lines, and the state if it changed."""
        if news.run.state == "running":
            self._show_state(news.run)
        for row in news.rows:
            self.row(row)
        for line in news.lines:
            # A line that is replaced, such as a progress bar, was shown already.
            if line.number > self._numbers.get(line.writer, 0):
                self._numbers[line.writer] = line.number
                self.line(line)
        self._show_state(news.run)

    def past(self, run: PublicRun) -> _Past:
        """The rows up to now, if many a sample. Of a run that ended all are news, its state the last."""
        if run.state != "running":
            return _Past(None, 0)
        rows = run.history(samples=_SAMPLES, pandas=False)
        next_step = max((row["_step"] + 1 for row in rows), default=0)
        return _Past(News(run._record, rows, [], []), next_step)

    def row(self, row: Mapping[str, Any]) -> None:
        """Shows a row."""

    def line(self, line: ConsoleLine) -> None:
        """Shows a line of the console."""

    def state(self, run: RunRecord) -> None:
        """Shows a new state."""

    def close(self) -> None:
        """Ends the view."""

    def _show_state(self, run: RunRecord) -> None:
        if run.state != self._state:
            self._state = run.state
            self.state(run)

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

    def line(self, line: ConsoleLine) -> None:
        echo(f"| {line.process + ': ' if line.process else ''}{cut_coloured(line.text, _LINE_WIDTH)}")

    def state(self, run: RunRecord) -> None:
        echo(f"{run.path} ({run.display_name}) {_state(run)}")


class _JsonLines(_View):
    """A line of JSON for each row and each state."""

    def row(self, row: Mapping[str, Any]) -> None:
        values = self._wanted(row)
        if values:
            print_json_text(to_json({"_step": row["_step"], "_timestamp": row["_timestamp"], **values}))

    def line(self, line: ConsoleLine) -> None:
        plain = {"console": line.text, "stream": line.stream, "process": line.process}
        print_json_text({**plain, "time": line.time.isoformat()})

    def state(self, run: RunRecord) -> None:
        print_json_text({"run": run.path, "state": run.state, "exit_code": run.exit_code})


class _Picture(_View):
    """The state, the curves and the end of the console, redrawn in place."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys)
        self._curves, self._system = Curves(keys), Curves()
        self._console: dict[tuple[str, int], str] = {}
        self._screen = Screen()

    def past(self, run: PublicRun) -> _Past:
        lines = self._screen.size()[1]
        self._curves.load(run, lines)
        self._system.load(run, lines, system=True)
        return _Past(News(run._record, [], [], []), run.lastHistoryStep + 1)

    def update(self, news: News) -> None:
        self._curves.add(news.rows)
        self._system.add(news.system)
        for line in news.lines:
            self._console[line.writer, line.number] = (
                f"{line.process + ': ' if line.process else ''}{line.text}"
            )
        while len(self._console) > _LINES_KEPT:
            del self._console[next(iter(self._console))]
        self._screen.draw(self._lines(news.run))

    def _lines(self, run: RunRecord) -> list[str]:
        """What there is room for: system metrics and console take a third each, or what the curves leave."""
        columns, height = self._screen.size()
        step = f"  step {run.last_step:,}" if run.last_step is not None else ""
        state = coloured(_state(run), _COLOURS.get(run.state))
        lines = [f"{coloured(run.display_name, bold=True)}  {state}  {_duration(run)}{step}", run.path]
        room = max(0, height - len(lines))
        others = sum(map(bool, (self._console, self._system.by_key)))
        metrics = max(room - room // 3 * others, 2)
        parts = [self._curves.lines(columns, metrics - 1)]
        room -= len(parts[0]) + 1
        if self._system.by_key:
            limit = room // 2 if self._console else room
            parts.append(self._system.lines(columns, max(0, limit - 1)))
            room -= len(parts[-1]) + 1
        if self._console and room > 1:
            parts.append(list(self._console.values())[1 - room :])
        for part in parts:
            lines += ["", *part] if part else []
        return lines[:height]

    def close(self) -> None:
        self._screen.close()


def _state(run: RunRecord) -> str:
    return f"{run.state} (exit code {run.exit_code})" if run.exit_code else run.state


def _duration(run: RunRecord) -> str:
    """How long it runs or ran: `1:02:03`."""
    end = run.finish_time or (
        datetime.datetime.now(datetime.UTC) if run.state == "running" else run.heartbeat_time
    )
    seconds = max(0, int(((end or run.create_time) - run.create_time).total_seconds()))
    return str(datetime.timedelta(seconds=seconds))
