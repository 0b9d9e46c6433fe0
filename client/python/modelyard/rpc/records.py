"""What the server answered, as frozen dataclasses: nothing of Protobuf goes further than this.

Only attributes of messages are read, so that this module imports none of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.rpc import validation

RUN_STATES = ("unknown", "running", "finished", "failed", "crashed", "killed")


@dataclass(frozen=True)
class Version:
    """A version of an artifact; `size` in bytes, `digest` 64 hex."""

    id: str
    model_artifact_id: str
    entity: str
    project: str
    name: str
    type: str
    number: int
    aliases: tuple[str, ...]
    description: str
    metadata: dict[str, Any]
    tags: tuple[str, ...]
    digest: str
    size: int
    file_count: int
    deleted: bool
    created_by: str
    create_time: datetime.datetime
    update_time: datetime.datetime
    expire_time: datetime.datetime | None
    producer_run_id: str
    history_step: int
    linked_to: tuple[str, ...]
    """Full references of the links."""

    @property
    def ref(self) -> str:
        """`entity/project/name:vN`."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.number}"


@dataclass(frozen=True)
class Link:
    """A version of a registered model."""

    id: str
    registered_model_id: str
    entity: str
    project: str
    name: str
    number: int
    aliases: tuple[str, ...]
    source: Version | None
    """None where the caller's key does not reach the source's entity."""
    created_by: str
    create_time: datetime.datetime

    @property
    def ref(self) -> str:
        """`entity/project/name:vN`."""
        return f"{self.entity}/{self.project}/{self.name}:v{self.number}"


@dataclass(frozen=True)
class Collection:
    """An artifact or a registered model, without its versions."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    description: str
    tags: tuple[str, ...]
    version_count: int
    create_time: datetime.datetime
    update_time: datetime.datetime
    registered: bool

    @property
    def ref(self) -> str:
        """`entity/project/name`."""
        return f"{self.entity}/{self.project}/{self.name}"


@dataclass(frozen=True)
class Registry:
    """A project that holds registered models."""

    entity: str
    name: str
    registered_model_count: int


@dataclass(frozen=True)
class RunRecord:
    """A run as the server has it."""

    id: str
    run_id: str
    entity: str
    project: str
    display_name: str
    state: str
    config: dict[str, Any]
    summary: dict[str, Any]
    notes: str
    tags: tuple[str, ...]
    group: str
    job_type: str
    created_by: str
    create_time: datetime.datetime
    heartbeat_time: datetime.datetime | None
    finish_time: datetime.datetime | None
    exit_code: int
    last_step: int
    metadata: dict[str, Any]

    @property
    def path(self) -> str:
        """`entity/project/run_id`."""
        return f"{self.entity}/{self.project}/{self.run_id}"


def value(message: Any) -> Any:
    """The plain value of a `Value` message."""
    kind = message.WhichOneof("kind")
    if kind == "list_value":
        return [value(item) for item in message.list_value.values]
    if kind == "map_value":
        return values(message.map_value.entries)
    return None if kind in {None, "null_value"} else getattr(message, kind)


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
        size=message.size,
        file_count=message.file_count,
        deleted=message.state == 2,
        created_by=message.created_by,
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        expire_time=_time_or_none(message, "expire_time"),
        producer_run_id=message.producer_run_id,
        history_step=message.history_step,
        linked_to=tuple(link.ref for link in message.linked_to),
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
    )
    return validation.check_collection(found)


def run(message: Any) -> RunRecord:
    """Of a Run. Errors: ReplyInvalid."""
    found = RunRecord(
        id=message.id,
        run_id=message.run_id,
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
        exit_code=message.exit_code,
        last_step=message.last_step,
        metadata=values(message.metadata),
    )
    return validation.check_run(found)


def run_state(number: int) -> str:
    """The name of a RunState; one that this client does not know is `unknown`."""
    return RUN_STATES[number] if number < len(RUN_STATES) else RUN_STATES[0]


def as_json(record: Version | Link | Collection | RunRecord) -> dict[str, Any]:
    """A record for scripts, with its reference: times as ISO text, NaN as `modelyard.values` has it."""
    from modelyard.contract.values import to_json

    plain: dict[str, Any] = {"ref": record.path if isinstance(record, RunRecord) else record.ref}
    for key, item in vars(record).items():
        if isinstance(item, datetime.datetime):
            plain[key] = item.isoformat()
        elif isinstance(item, Version):
            plain[key] = as_json(item)
        else:
            plain[key] = list(item) if isinstance(item, tuple) else to_json(item)
    return plain


def refs(records: Iterable[Version | Link]) -> list[str]:
    """Their full references."""
    return [record.ref for record in records]


def time_of(stamp: Any) -> datetime.datetime:
    """Of a Timestamp, in UTC."""
    moment: datetime.datetime = stamp.ToDatetime(tzinfo=datetime.UTC)
    return moment


def _time_or_none(message: Any, field: str) -> datetime.datetime | None:
    return time_of(getattr(message, field)) if message.HasField(field) else None
