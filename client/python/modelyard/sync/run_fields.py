"""Sends changed fields of a run; one that the server refuses costs none of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.contract import errors
from modelyard.host import terminal
from modelyard.rpc import run_calls
from modelyard.rpc.connection import Connection
from modelyard.rpc.messages import metric_definition_message, value_map
from modelyard.sync.destination import Destination, is_refusal
from modelyard.v1 import run_pb2 as pb

DEFINITIONS = "metric_definitions"
"""The part whose values are the contents of DEFINITION records."""


class RunFields:
    """The fields that changed and were not sent yet, by name: `config.lr`, `notes`, …

    A group that is refused is halved until the bad field is found. That one is left
    out, with a warning, until it changes again or `retry_refused` is called.
    """

    def __init__(self, connection: Connection, destination: Destination) -> None:
        self._connection = connection
        self._destination = destination
        self._changed: dict[str, Any] = {}
        self._removed: set[str] = set()
        self._refused: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._changed or self._removed)

    def change(self, fields: Mapping[str, Any], removed: Sequence[str] = ()) -> None:
        """Notes new values, and fields that were removed."""
        for name, value in fields.items():
            self._refused.pop(name, None)
            self._removed.discard(name)
            self._changed[name] = value
        for name in removed:
            self._refused.pop(name, None)
            self._changed.pop(name, None)
            self._removed.add(name)

    def without_refused(self, part: str, entries: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of `config` or `summary` that were not refused before.

        Of the others the new values are kept for `retry_refused`.
        """
        if not self._refused:
            return dict(entries)
        kept = {}
        for key, value in entries.items():
            name = f"{part}.{key}"
            if name in self._refused:
                self._refused[name] = value
            else:
                kept[key] = value
        return kept

    def retry_refused(self) -> None:
        """Tries refused fields again: one that was too large beside others may fit now."""
        self._changed = self._refused | self._changed
        self._refused = {}

    def clear(self) -> None:
        """Forgets everything."""
        self._changed, self._removed = {}, set()

    def send(self) -> bool:
        """Sends all; whether there was anything. Errors: CommError, and what was not sent is kept."""
        names = sorted([*self._changed, *self._removed])
        groups = [names] if names else []
        while groups:
            group = groups.pop()
            try:
                self._send_group(group)
            except Exception as error:
                if isinstance(error, errors.CommError) and not is_refusal(error):
                    raise
                middle = len(group) // 2
                if middle:
                    groups += [group[middle:], group[:middle]]
                    continue
                self._refuse(group[0], error)
            for name in group:
                self._changed.pop(name, None)
                self._removed.discard(name)
        return bool(names)

    def _send_group(self, names: Sequence[str]) -> None:
        run = pb.Run(id=self._destination.run_id)
        for name in names:
            if name in self._changed:
                _set(run, name, self._changed[name])
        request = run_calls.update_request(run, names)
        request.attempt = self._destination.attempt
        request.read_mask.paths.append("attempt")  # not the config and the summary with each change
        self._connection.runs.UpdateRun(request)

    def _refuse(self, name: str, error: Exception) -> None:
        if name in self._changed:
            self._refused[name] = self._changed[name]
        terminal.warn_once(
            f"refused {self._destination.run_id} {name}", f"{name} of the run was refused: {error}"
        )


def _set(run: pb.Run, name: str, value: Any) -> None:
    part, _, key = name.partition(".")
    if part == DEFINITIONS:
        run.metric_definitions[key].CopyFrom(metric_definition_message(value))
    elif key:
        getattr(run, part)[key].CopyFrom(value_map({key: value})[key])
    elif part == "tags":
        run.tags.extend(value)
    else:
        setattr(run, part, value)
