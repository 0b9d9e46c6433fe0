"""What an artifact says of itself, without asking the server."""

from __future__ import annotations

from modelyard import errors, records
from modelyard.draft import Draft


class ArtifactFacts:
    """The read-only attributes of `Artifact`.

    Through a link, name, version, entity and project are the link's; what
    starts with `source_` is always the version's own.
    """

    _name: str
    _type: str
    _draft: Draft
    _version: records.Version | None
    _link: records.Link | None

    def __repr__(self) -> str:
        return f"<Artifact {self.qualified_name}>" if self._version else f"<Artifact {self._name} (draft)>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArtifactFacts) or self._version is None:
            return self is other
        return other._version is not None and self._version.id == other._version.id

    def __hash__(self) -> int:
        return hash(self._version.id) if self._version else id(self)

    @property
    def is_draft(self) -> bool:
        """Whether it was not logged yet."""
        return self._version is None

    @property
    def state(self) -> str:
        """`PENDING`, `COMMITTED` or `DELETED`."""
        if self._version is None:
            return "PENDING"
        return "DELETED" if self._version.deleted else "COMMITTED"

    @property
    def name(self) -> str:
        """The name; of a logged version with its number: `bert:v3`."""
        return f"{self._holder.name}:{self.version}" if self._version else self._name

    @property
    def type(self) -> str:
        """`model`, `dataset`, …"""
        return self._type

    @property
    def is_link(self) -> bool:
        """Whether it was reached through a registered model."""
        return self._link is not None

    @property
    def size(self) -> int:
        """Sum of the sizes of its files, in bytes."""
        if self._version is not None:
            return self._version.size
        return sum(entry.size or 0 for entry in self._draft.everything.values())

    @property
    def file_count(self) -> int:
        """Number of its files."""
        return self._version.file_count if self._version else len(self._draft.everything)

    # What only a logged version has: on a draft these raise ArtifactNotLoggedError.

    def _logged(self, member: str) -> records.Version:
        if self._version is None:
            raise errors.ArtifactNotLoggedError(
                f"'{self._name}' has no {member} before it is logged: call run.log_artifact(artifact) first"
            )
        return self._version

    @property
    def _holder(self) -> records.Version | records.Link:
        return self._link or self._logged("collection")

    id = property(lambda self: self._logged("id").id, doc="Global id of the version.")
    digest = property(lambda self: self._logged("digest").digest, doc="Version digest, 64 lower-case hex.")
    commit_hash = property(lambda self: self._logged("commit_hash").digest, doc="Same as `digest`.")
    history_step = property(
        lambda self: None if self._logged("history_step").history_step < 0 else self._version.history_step,
        doc="Step of the run that made it; None when not known.",
    )
    created_at = property(
        lambda self: self._logged("created_at").create_time.isoformat(), doc="ISO 8601, UTC."
    )
    updated_at = property(
        lambda self: self._logged("updated_at").update_time.isoformat(), doc="ISO 8601, UTC."
    )

    @property
    def version(self) -> str:
        """`v0`, `v1`, …: of the link when it was reached through a registered model."""
        self._logged("version")
        return f"v{self._holder.number}"

    @property
    def entity(self) -> str:
        """Who owns it."""
        self._logged("entity")
        return self._holder.entity

    @property
    def project(self) -> str:
        """The project, or the registry of a link."""
        self._logged("project")
        return self._holder.project

    @property
    def qualified_name(self) -> str:
        """`entity/project/name:vN`."""
        self._logged("qualified_name")
        return self._holder.ref

    @property
    def url(self) -> str:
        """The command that shows it: there is no page yet."""
        self._logged("url")
        return f"modelyard show {self.qualified_name}"

    @property
    def source_name(self) -> str:
        """`name:vN` of the version itself, also through a link."""
        return f"{self._logged('source_name').name}:{self.source_version}"

    @property
    def source_version(self) -> str:
        """`vN` of the version itself."""
        return f"v{self._logged('source_version').number}"

    source_entity = property(
        lambda self: self._logged("source_entity").entity, doc="Entity of the version itself."
    )
    source_project = property(lambda self: self._logged("source_project").project, doc="Its project.")
    source_qualified_name = property(
        lambda self: self._logged("source_qualified_name").ref,
        doc="`entity/project/name:vN` of the version itself.",
    )
