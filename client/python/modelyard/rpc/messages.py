"""Conversion between messages and records or plain values: callers of `rpc` see no Protobuf.

Replies are checked on the way, see `validation`.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from modelyard.contract import errors
from modelyard.contract.values import METRIC_GOALS, RUN_STATES, SUMMARY_KINDS
from modelyard.rpc import validation
from modelyard.rpc.records import Collection, ConsoleLine, FileEntry, Link, RunFile, RunRecord, Version
from modelyard.v1 import model_artifact_pb2, run_console_pb2, run_pb2
from modelyard.v1 import value_pb2 as pb


def value_message(value: Any) -> pb.AnyValue:
    """A value of config, summary or metadata as a message; `values.check` has accepted it."""
    if value is None:
        return pb.AnyValue(null_value=True)
    if isinstance(value, bool):
        return pb.AnyValue(bool_value=value)
    if isinstance(value, int):
        return pb.AnyValue(int_value=value)
    if isinstance(value, float):
        return pb.AnyValue(double_value=value)
    if isinstance(value, str):
        return pb.AnyValue(string_value=value)
    if isinstance(value, Mapping):
        entries = {key: value_message(item) for key, item in value.items()}
        return pb.AnyValue(map_value=pb.ValueMap(entries=entries))
    return pb.AnyValue(list_value=pb.ValueList(values=[value_message(item) for item in value]))


def value_map(entries: Mapping[str, Any]) -> dict[str, pb.AnyValue]:
    """Plain values as messages."""
    return {key: value_message(item) for key, item in entries.items()}


def value(message: Any) -> Any:
    """The plain value of an `AnyValue` message. Errors: ReplyInvalid for a kind of a newer server."""
    kind = message.WhichOneof("kind")
    if kind == "list_value":
        return [value(item) for item in message.list_value.values]
    if kind == "map_value":
        return values(message.map_value.entries)
    if kind is None:
        raise errors.ReplyInvalid(
            "the server sent a value of a kind that this release of modelyard does not know: upgrade it"
        )
    return None if kind == "null_value" else getattr(message, kind)


def values(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a map, ordered by key."""
    return {key: value(entries[key]) for key in sorted(entries)}


def version(message: Any) -> Version:
    """Of a ModelArtifactVersion. Errors: ReplyInvalid."""
    found = Version(
        id=message.id,
        model_artifact_id=message.model_artifact_id,
        entity=message.entity,
        project=message.project,
        name=message.name,
        type=message.type,
        number=message.number,
        aliases=tuple(message.aliases),
        description=message.description,
        metadata=values(message.metadata),
        tags=tuple(message.tags),
        digest=message.digest,
        size_bytes=message.size_bytes,
        file_count=message.file_count,
        deleted=message.state == model_artifact_pb2.VERSION_STATE_DELETED,
        created_by=message.created_by,
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        expire_time=_time_or_none(message, "expire_time"),
        producer_run_id=message.producer_run_id,
        history_step=message.history_step if message.HasField("history_step") else None,
        linked_to=tuple(link.ref for link in message.linked_to),
        etag=message.etag,
    )
    return validation.check_version(found)


def link(message: Any) -> Link:
    """Of a RegisteredModelVersion. Errors: ReplyInvalid."""
    found = Link(
        id=message.id,
        registered_model_id=message.registered_model_id,
        entity=message.entity,
        project=message.project,
        name=message.name,
        number=message.number,
        aliases=tuple(message.aliases),
        source=version(message.source) if message.HasField("source") else None,
        created_by=message.created_by,
        create_time=time_of(message.create_time),
    )
    return validation.check_link(found)


def collection(message: Any) -> Collection:
    """Of a ModelArtifact or a RegisteredModel. Errors: ReplyInvalid."""
    found = Collection(
        id=message.id,
        entity=message.entity,
        project=message.project,
        name=message.name,
        type=message.type,
        description=message.description,
        tags=tuple(message.tags),
        version_count=message.version_count,
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        registered=message.DESCRIPTOR.name == "RegisteredModel",
        etag=message.etag,
    )
    return validation.check_collection(found)


def run(message: Any) -> RunRecord:
    """Of a Run. Errors: ReplyInvalid."""
    found = RunRecord(
        id=message.id,
        run_id=message.name,
        entity=message.entity,
        project=message.project,
        display_name=message.display_name,
        state=run_state(message.state),
        config=values(message.config),
        summary=values(message.summary),
        notes=message.notes,
        tags=tuple(message.tags),
        group=message.group,
        job_type=message.job_type,
        created_by=message.created_by,
        create_time=time_of(message.create_time),
        heartbeat_time=_time_or_none(message, "heartbeat_time"),
        finish_time=_time_or_none(message, "finish_time"),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        last_step=message.last_step if message.HasField("last_step") else None,
        metadata=values(message.metadata),
        etag=message.etag,
        attempt=message.attempt or 1,
        update_time=_time_or_none(message, "update_time"),
        metric_definitions={
            name: metric_definition(each) for name, each in message.metric_definitions.items()
        },
    )
    return validation.check_run(found)


def metric_definition(message: Any) -> dict[str, Any]:
    """Of a MetricDefinition: the arguments of `define_metric` that it sets; values not known are left out."""
    goal = METRIC_GOALS[message.goal - 1 : message.goal] if message.goal else ()
    kinds = [kind for number in message.summary for kind in SUMMARY_KINDS[number - 1 : number]]
    found = {
        "step_metric": message.step_metric,
        "step_sync": message.step_sync if message.HasField("step_sync") else None,
        "summary": ",".join(kinds),
        "goal": "".join(goal),
        "hidden": message.hidden or None,
    }
    return {name: value for name, value in found.items() if value not in {None, ""}}


def metric_definition_message(content: Mapping[str, Any]) -> run_pb2.MetricDefinition:
    """The message of what a spool has of a definition."""
    return run_pb2.MetricDefinition(
        step_metric=content["step_metric"] or "",
        step_sync=content["step_sync"],
        summary=[run_pb2.SummaryKind.Value(f"SUMMARY_KIND_{kind.upper()}") for kind in content["kinds"]],
        goal=run_pb2.MetricGoal.Value(f"METRIC_GOAL_{(content['goal'] or 'unspecified').upper()}"),
        hidden=bool(content["hidden"]),
    )


def console_line(message: Any) -> ConsoleLine:
    """Of a ConsoleLine."""
    return ConsoleLine(
        number=message.number,
        time=time_of(message.write_time),
        stream="stderr" if message.stream == run_console_pb2.CONSOLE_STREAM_STDERR else "stdout",
        text=message.text,
        process=message.process,
        writer=message.writer,
    )


def run_file(message: Any) -> RunFile:
    """Of a RunFile. Errors: ReplyInvalid."""
    validation.check_paths([FileEntry(message.path, message.size_bytes)])
    return RunFile(
        path=message.path,
        size=message.size_bytes,
        digest=validation.check_digest(message.digest, f"the digest of {message.path!r}"),
        sha256=message.sha256,
        media_type=message.media_type,
        update_time=time_of(message.update_time),
    )


def run_state(number: int) -> str:
    """The name of a RunState; one that this client does not know is `unknown`."""
    return RUN_STATES[number - 1] if 0 < number <= len(RUN_STATES) else "unknown"


def time_of(stamp: Any) -> datetime.datetime:
    """Of a Timestamp, in UTC."""
    moment: datetime.datetime = stamp.ToDatetime(tzinfo=datetime.UTC)
    return moment


def _time_or_none(message: Any, field: str) -> datetime.datetime | None:
    return time_of(getattr(message, field)) if message.HasField(field) else None
