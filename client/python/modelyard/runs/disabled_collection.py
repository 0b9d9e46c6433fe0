"""The collection of a disabled run's version: apart, since its base class needs gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard.artifacts.artifact import Artifact
from modelyard.query.listing import Listing
from modelyard.registry.collection import RegisteredModel
from modelyard.rpc import records


class DisabledCollection(RegisteredModel):
    """The collection of a disabled run's version; it lists none."""

    def __init__(self, version: records.Version, artifact: Artifact) -> None:
        self._record = records.Collection(
            id=version.model_artifact_id, entity=version.entity, project=version.project, name=version.name,
            type=version.type, description="", tags=(), version_count=0, create_time=version.create_time,
            update_time=version.create_time, registered=False,
        )  # fmt: skip
        self._artifact = artifact
        self._set_record(self._record)

    def _records(self, *_: Any) -> Iterator[records.Version | records.Link]:
        return iter(())

    def _fresh(self) -> records.Collection:
        return self._record

    @property
    def url(self) -> str:
        """The command that would show it."""
        return f"modelyard show {self._record.ref}"

    @property
    def latest(self) -> Artifact:
        """The version it was asked of."""
        return self._artifact

    def version(self, alias: Any) -> Artifact:
        """The version it was asked of."""
        return self._artifact

    def link(self, artifact: Any, aliases: Any = None) -> Artifact:
        """The version it was asked of."""
        return self._artifact

    def history(self, alias: Any = None) -> Listing[Any]:
        """Empty."""
        return Listing(())

    def alias_at(self, alias: Any, time: Any) -> str | None:
        """None."""
        return None

    def aliases_at(self, time: Any) -> dict[str, str]:
        """Empty."""
        return {}

    def save(self) -> None:
        """Sends nothing."""

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    delete = set_alias = remove_alias = change_type = _nothing
