"""Runs → messages, with all fields or those of a mask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from modelyard.v1 import run_pb2 as pb
from modelyard_server.domain import etags
from modelyard_server.domain.runs import runs
from modelyard_server.domain.runs.run_maps import PARTS
from modelyard_server.domain.runs.runs import RunView
from modelyard_server.rpc.wire import arguments, convert, metric_definitions

STATES = {
    runs.RUNNING: pb.RUN_STATE_RUNNING,
    runs.FINISHED: pb.RUN_STATE_FINISHED,
    runs.FAILED: pb.RUN_STATE_FAILED,
    runs.CRASHED: pb.RUN_STATE_CRASHED,
    runs.KILLED: pb.RUN_STATE_KILLED,
}
_ALWAYS: Mapping[str, Callable[[RunView], Any]] = {
    "id": lambda view: view.run.id,
    "name": lambda view: view.run.run_id,
    "entity": lambda view: view.entity,
    "project": lambda view: view.project,
}
_FIELDS: Mapping[str, Callable[[RunView], Any]] = {
    **_ALWAYS,
    "display_name": lambda view: view.row.display_name,
    "state": lambda view: STATES[view.state],
    "notes": lambda view: view.row.notes,
    "tags": lambda view: view.row.tags,
    "group": lambda view: view.row.group,
    "job_type": lambda view: view.row.job_type,
    "created_by": lambda view: view.row.created_by,
    "create_time": lambda view: convert.timestamp(view.row.created_at),
    "update_time": lambda view: convert.timestamp(view.row.updated_at),
    "heartbeat_time": lambda view: convert.timestamp(view.row.heartbeat_at),
    "finish_time": lambda view: convert.timestamp(view.row.finished_at),
    "exit_code": lambda view: view.row.exit_code,
    "last_step": lambda view: None if view.row.last_step < 0 else view.row.last_step,
    "etag": lambda view: etags.of_run(view.row),
    "attempt": lambda view: view.row.attempt,
    "metric_definitions": lambda view: metric_definitions.to_messages(view.row.metric_definitions),
}


@dataclass(frozen=True)
class Mask:
    """Fields of a message. `maps` has the keys wanted of each map, None for all of them."""

    fields: Collection[str]
    maps: Mapping[str, Collection[str] | None]

    @classmethod
    def parse(cls, mask: FieldMask) -> Mask:
        """A read mask; an empty one means all fields. Raises InvalidMask."""
        if not mask.paths:
            return ALL
        paths = [path.partition(".") for path in dict.fromkeys(mask.paths)]
        of_maps = [path for path in paths if path[0] in PARTS and (path[2] or not path[1])]
        plain = ["".join(path) for path in paths if path not in of_maps]
        known = [*_FIELDS, *PARTS, *(f"{part}.KEY" for part in PARTS)]
        arguments.check_paths("read_mask", plain, _FIELDS, known)
        whole = {part for part, dot, _ in of_maps if not dot}
        keys: dict[str, Collection[str] | None] = dict.fromkeys(whole)
        for part, _, key in of_maps:
            if part not in whole:
                keys[part] = [*(keys.get(part) or ()), key]
        return cls({*_ALWAYS, *plain}, keys)

    @property
    def parts(self) -> Collection[str]:
        """The maps that have to be read."""
        return self.maps.keys()


ALL = Mask(_FIELDS.keys(), dict.fromkeys(PARTS))


def message(view: RunView, mask: Mask = ALL) -> pb.Run:
    """The message of a run; its maps were filled in by `runs.with_maps`."""
    maps: dict[str, Any] = {
        part: convert.json_to_values(_chosen(view.maps[part], keys)) for part, keys in mask.maps.items()
    }
    return pb.Run(**{name: _FIELDS[name](view) for name in mask.fields}, **maps)


def _chosen(entries: Mapping[str, Any], keys: Collection[str] | None) -> Mapping[str, Any]:
    return entries if keys is None else {key: entries[key] for key in keys if key in entries}
