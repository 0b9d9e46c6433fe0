"""Collections of versions: artifacts, and registered models with the history of their aliases."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from modelyard.arguments import checked_calls
from modelyard.artifacts import artifact as artifacts
from modelyard.artifacts.artifact import Artifact
from modelyard.artifacts.name_lists import NameList, packed, unpacked
from modelyard.contract import errors, refs
from modelyard.host import notebook
from modelyard.query import page_addresses
from modelyard.query.conditions import OF_LINKS, Condition, as_filter, as_order
from modelyard.query.listing import Listing, page_size
from modelyard.query.resolve import Resolver
from modelyard.registry import alias_history
from modelyard.registry.alias_history import AliasChange
from modelyard.rpc import collection_calls, list_calls, records, retry, version_calls


class Workspace(artifacts.Workspace, Protocol):
    """What handles that return collections need of their workspace."""

    def collection(self, record: records.Collection) -> ArtifactCollection:
        """The handle of an artifact or registered model."""

    def registered_model(self, record: records.Collection) -> RegisteredModel:
        """The handle of a registered model."""

    def resolver(self) -> Resolver:
        """What looks references up, with the entity and project of the settings."""


@checked_calls()
class ArtifactCollection:
    """A name with its versions. `description` and `tags` may be changed, then `save()`."""

    _names: Mapping[str, str] = {}

    def __init__(self, workspace: Workspace, record: records.Collection) -> None:
        self._workspace = workspace
        self._set_record(record)

    def _set_record(self, record: records.Collection) -> None:
        self._record = record
        self._name = record.name
        self._description = record.description or None
        self._tags = NameList(record.tags, check=refs.check_tag)

    def __getstate__(self) -> dict[str, Any]:
        return packed(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(unpacked(state))

    id = property(lambda self: self._record.id, doc="Global id.")
    entity = property(lambda self: self._record.entity, doc="Who owns it.")
    project = property(lambda self: self._record.project, doc="Its project or registry.")
    type = property(lambda self: self._record.type, doc="Type of its versions: `model`, `dataset`, …")
    version_count = property(
        lambda self: self._record.version_count, doc="Number of versions when it was read."
    )
    qualified_name = property(lambda self: self._record.ref, doc="`entity/project/name`.")
    created_at = property(lambda self: self._record.create_time.isoformat(), doc="ISO 8601, UTC.")
    updated_at = property(lambda self: self._record.update_time.isoformat(), doc="ISO 8601, UTC.")
    url = property(
        lambda self: page_addresses.of_collection(self._workspace.connection, self._record),
        doc="Where the page shows it; without a page the command that shows it.",
    )

    @property
    def name(self) -> str:
        """Its name. Only registered models can be renamed."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        raise errors.UsageError(
            f"the artifact {self.qualified_name} keeps its name: versions are known by it"
        )

    @property
    def description(self) -> str | None:
        """Free text; of a registered model its card, in Markdown. At most 64 KiB. Set it, then `save()`."""
        return self._description

    @description.setter
    def description(self, description: str | None) -> None:
        self._description = description

    @property
    def tags(self) -> NameList:
        """Tags of the collection; change the list, then `save()`."""
        return self._tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._tags = self._tags.replaced(tags)

    @property
    def aliases(self) -> list[str]:
        """All aliases of its versions, sorted."""
        return sorted({alias for found in self._records("", "", 1_000) for alias in found.aliases})

    def versions(
        self, filter: Condition = None, order: str | None = None, per_page: int = 50
    ) -> Listing[Artifact]:
        """Its versions, newest first; with a `filter` those that match (docs/searching.md)."""
        condition = as_filter(filter, self._names)
        found = self._versions(condition, as_order(order), page_size(per_page))
        return Listing(found, None if condition else lambda: self._fresh().version_count)

    artifacts = versions

    def _versions(self, condition: str, order: str, size: int) -> Iterator[Artifact]:
        for found in self._records(condition, order, size):
            yield self._workspace.artifact(found)

    def _records(self, condition: str, order: str, size: int) -> Iterator[records.Version | records.Link]:
        return list_calls.versions(self._workspace.connection, self.id, condition, order, size)

    def save(self) -> None:
        """Sends changes of description and tags, and of a registered model its name."""
        changed: dict[str, Any] = {}
        if self._name != self._record.name:
            changed["name"] = self._name
        if (self.description or "") != self._record.description:
            changed["description"] = self.description or ""

        def send(stored: records.Collection) -> records.Collection:
            if self._tags.added or self._tags.removed:
                changed["tags"] = self._tags.applied_to(stored.tags)
            if not changed:
                return stored
            return collection_calls.update(self._workspace.connection, stored, changed)

        self._set_record(retry.on_latest(send, self._fresh(), self._fresh))

    def delete(self, delete_aliases: bool = False) -> None:
        """Deletes it with its versions; version numbers are not used again.

        CommError when a version has aliases or is linked, unless `delete_aliases`.
        """
        collection_calls.delete_artifact(self._workspace.connection, self.id, delete_aliases=delete_aliases)

    def change_type(self, new_type: str) -> None:
        """Always raises UsageError: the type of a name cannot change."""
        raise errors.UsageError(
            f"the type of {self.qualified_name} stays {self.type!r}: "
            f"log or link the versions under another name to have them as {new_type!r}"
        )

    def is_sequence(self) -> bool:
        """Whether it has versions of its own, rather than links."""
        return not self._record.registered

    def history(self, alias: str | None = None) -> Listing[AliasChange]:
        """The moves of its aliases: who, when, from which version to which; newest first."""
        return Listing(alias_history.changes(self._workspace.connection, self.id, alias or ""))

    def alias_at(self, alias: str, time: datetime.datetime | str) -> str | None:
        """The version, `vN`, that an alias pointed at at a time; None when it did not exist.

        `time` is a datetime or ISO 8601 text; without a zone it is local time.
        """
        return alias_history.positions(self._workspace.connection, self.id, time, alias).get(alias)

    def aliases_at(self, time: datetime.datetime | str) -> dict[str, str]:
        """The versions of all aliases at a time: alias → `vN`."""
        return alias_history.positions(self._workspace.connection, self.id, time)

    def _fresh(self) -> records.Collection:
        return collection_calls.get(self._workspace.connection, self._record)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArtifactCollection) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._record.ref} ({self._record.type})>"

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        record = self._record
        rows = {
            "Type": record.type,
            "Versions": record.version_count,
            "Tags": ", ".join(record.tags),
            "Description": record.description,
        }
        return notebook.card(record.ref, rows, shown_by=self.url)


@checked_calls()
class RegisteredModel(ArtifactCollection):
    """A registered model: links with numbers and aliases of their own, and a card.

    `name`, `description` (the card, in Markdown) and `tags` may be changed, then `save()`.
    """

    _names = OF_LINKS

    @property
    def name(self) -> str:
        """Its name; set it to rename, then `save()`."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = refs.check_model_name(name)

    @property
    def latest(self) -> Artifact:
        """The newest link. Errors: NotFound when there is none."""
        return self.version(refs.LATEST)

    def version(self, alias: str) -> Artifact:
        """The version at an alias or number: `production`, `v3`. Errors: NotFound."""
        return self._workspace.artifact(self._link_at(alias))

    def _link_at(self, alias: str) -> records.Link:
        """The record of the link at an alias or number. Errors: NotFound."""
        return version_calls.link_by_ref(self._workspace.connection, f"{self.qualified_name}:{alias}")

    def link(self, artifact: Artifact | str, aliases: Iterable[str] | str | None = None) -> Artifact:
        """Links a version, given or by reference, and returns the link."""
        names = refs.alias_list(aliases)
        if isinstance(artifact, str):
            version, _ = self._workspace.resolver().version(artifact)
            version_id = version.id
        else:
            version_id = artifact.id
        link = version_calls.link(self._workspace.connection, version_id, self.qualified_name, names)
        return self._workspace.artifact(link)

    def set_alias(self, alias: str, version: str, expected: str | None = None) -> None:
        """Moves an alias to a version, `vN`, in one step.

        `expected` is the version it must point at before, `vN`, or "" for none; else
        AliasChanged is raised and nothing moves. Default: any.
        """
        refs.check_alias(alias)
        before = {} if expected is None else {alias: expected}
        version_calls.move_aliases(
            self._workspace.connection, self.qualified_name, {alias: version}, expected=before
        )

    def remove_alias(self, alias: str, expected: str | None = None) -> None:
        """Removes an alias; `expected` as in `set_alias`."""
        before = {} if expected is None else {alias: expected}
        version_calls.move_aliases(
            self._workspace.connection, self.qualified_name, {alias: ""}, expected=before
        )

    def delete(self, delete_aliases: bool = True) -> None:
        """Deletes it with its links; the linked versions stay. Version numbers are not used again."""
        collection_calls.delete_model(self._workspace.connection, self.id)

    def _records(self, condition: str, order: str, size: int) -> Iterator[records.Version | records.Link]:
        return list_calls.links(self._workspace.connection, self.id, condition, order, size)
