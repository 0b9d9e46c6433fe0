"""Records of replies: frozen dataclasses, which `messages` makes."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from modelyard.contract.chunking import Chunk, Entry
from modelyard.contract.values import to_json

REMOVED: Any = object()
"""The new value of a key that is to be removed."""


@dataclass(frozen=True)
class Version:
    """A version of an artifact; `digest` is 64 hex."""

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
    size_bytes: int
    file_count: int
    deleted: bool
    created_by: str
    create_time: datetime.datetime
    update_time: datetime.datetime
    expire_time: datetime.datetime | None
    producer_run_id: str
    history_step: int | None
    linked_to: tuple[str, ...]
    """Full references of the links."""
    etag: str = ""
    """The etag of the fields that `save` changes; empty if unknown."""

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
    """None if the caller's key may not read the source's entity."""
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
    etag: str = ""

    @property
    def ref(self) -> str:
        """`entity/project/name`."""
        return f"{self.entity}/{self.project}/{self.name}"


@dataclass(frozen=True)
class ProjectRecord:
    """A project with what it held when it was read."""

    entity: str
    name: str
    create_time: datetime.datetime
    created_by: str
    run_count: int
    running_run_count: int
    artifact_count: int
    registered_model_count: int
    last_activity_time: datetime.datetime

    @property
    def path(self) -> str:
        """`entity/project`."""
        return f"{self.entity}/{self.name}"


@dataclass(frozen=True)
class PrincipalRecord:
    """Whom API keys are made for; `create_time` None: not known."""

    id: str
    entity: str
    name: str
    create_time: datetime.datetime | None


@dataclass(frozen=True)
class RegistryRecord:
    """A project that holds registered models."""

    entity: str
    name: str
    registered_model_count: int


class LateMaps(Protocol):
    """Reads maps of runs when they are needed; `parts` are their names."""

    parts: frozenset[str]

    def __call__(self, run: RunRecord, part: str) -> dict[str, Any]:
        """One map of a run. Errors: NotFound."""


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
    exit_code: int | None
    last_step: int | None
    metadata: dict[str, Any]
    etag: str = ""
    attempt: int = 1
    update_time: datetime.datetime | None = None
    metric_definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name or `prefix*`, the arguments of `define_metric` that were set."""
    late: LateMaps | None = field(default=None, compare=False, repr=False)
    """Reads the maps that it was listed without; they are empty here."""

    @property
    def path(self) -> str:
        """`entity/project/run_id`."""
        return f"{self.entity}/{self.project}/{self.run_id}"


@dataclass(frozen=True)
class ConsoleLine:
    """A line that a run wrote; `number` counts the lines of its `writer` from 1.

    `stream` is stdout or stderr; `process` says in words which process wrote it, empty for the first.
    """

    number: int
    time: datetime.datetime
    stream: str
    text: str
    process: str
    writer: str


@dataclass(frozen=True)
class RunFile:
    """A file of a run; `size` is in bytes, digests are hex, `sha256` is empty if it was not computed."""

    path: str
    size: int
    digest: str
    sha256: str
    media_type: str
    update_time: datetime.datetime


@dataclass(frozen=True)
class ServerInfo:
    """A server, and whom it takes the caller for; `limits` and `chunking` are as in `server.proto`.

    `web_url` is the address of its page, empty without one.
    """

    version: str
    principal: str
    entity: str
    services: tuple[str, ...]
    limits: dict[str, int]
    chunking: dict[str, Any]
    web_url: str


@dataclass(frozen=True)
class FileEntry:
    """A file or a reference of a version.

    `size` is in bytes, None for a reference of unknown size; `digest` is the
    raw file digest (32 bytes), empty for a reference.
    """

    path: str
    size: int | None
    digest: bytes = b""
    chunks: tuple[Chunk, ...] = ()
    uri: str = ""
    tag: str = ""
    sha256: str = ""

    @property
    def identity(self) -> bytes:
        """Equal for entries of equal content, as far as known: the digest, or URI and tag."""
        return self.digest if not self.uri else f"{self.uri} {self.tag}".encode()

    def digested(self) -> Entry:
        """What of it enters the version digest."""
        return Entry(self.path, self.size, self.digest, self.uri, self.tag)


def as_json(record: Version | Link | Collection | RunRecord) -> dict[str, Any]:
    """A record for scripts, with its reference: times as ISO text, NaN as `contract.values` has it."""
    plain: dict[str, Any] = {"ref": record.path if isinstance(record, RunRecord) else record.ref}
    for key, item in vars(record).items():
        if key == "late":
            continue
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
