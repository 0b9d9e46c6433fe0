"""What an artifact says of itself, without asking the server."""

from __future__ import annotations

from modelyard.artifacts.draft import Draft
from modelyard.contract import errors
from modelyard.rpc import records


class ArtifactFacts:
    """The read-only attributes of `Artifact`.

    Through a link, name, version, entity and project are the link's; what
    starts with `source_` is always the version's own. Of a link whose source
    the key does not reach, only the link's are known: description, metadata and
    tags are empty, other members raise NotAllowed.
    """

    _name: str
    _type: str
    _draft: Draft
    _version: records.Version | None
    _link: records.Link | None

    def __repr__(self) -> str:
        return f"<Artifact {self._name} (draft)>" if self.is_draft else f"<Artifact {self.qualified_name}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArtifactFacts) or self.is_draft:
            return self is other
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> object:
        """What is the same for equal artifacts: the version's id, the link's where the version is hidden."""
        known = self._version or self._link
        return known.id if known else id(self)

    @property
    def is_draft(self) -> bool:
        """Whether it was not logged yet."""
        return self._version is None and self._link is None

    @property
    def state(self) -> str:
        """`PENDING`, `COMMITTED` or `DELETED`."""
        if self.is_draft:
            return "PENDING"
        return "DELETED" if self._version and self._version.deleted else "COMMITTED"

    @property
    def name(self) -> str:
        """The name; of a logged version with its number: `bert:v3`."""
        return self._name if self.is_draft else f"{self._holder.name}:{self.version}"

    @property
    def type(self) -> str:
        """`model`, `dataset`, …; empty of a link whose source the key does not reach."""
        return self._type

    @property
    def is_link(self) -> bool:
        """Whether it was reached through a registered model."""
        return self._link is not None

    @property
    def size(self) -> int:
        """Sum of the sizes of its files, in bytes."""
        if not self.is_draft:
            return self._logged("size").size_bytes
        return sum(entry.size or 0 for entry in self._draft.everything.values())

    @property
    def file_count(self) -> int:
        """Number of its files."""
        return len(self._draft.everything) if self.is_draft else self._logged("file_count").file_count

    # What only a logged version has: on a draft these raise ArtifactNotLoggedError.

    def _logged(self, member: str) -> records.Version:
        """The version. NotAllowed for a link whose source the key does not reach."""
        if self._version is None and self._link is not None:
            raise errors.NotAllowed(
                f"{self._link.ref} shows no {member}: its source version is in an entity that this key "
                "does not reach; a key for all entities does"
            )
        if self._version is None:
            raise errors.ArtifactNotLoggedError(
                f"'{self._name}' has no {member} before it is logged: call run.log_artifact(artifact) first"
            )
        return self._version

    @property
    def _holder(self) -> records.Version | records.Link:
        return self._holder_for("collection")

    def _holder_for(self, member: str) -> records.Version | records.Link:
        """What has the name, number and aliases: the link, else the version."""
        return self._link or self._logged(member)

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
        return f"v{self._holder_for('version').number}"

    @property
    def entity(self) -> str:
        """Who owns it."""
        return self._holder_for("entity").entity

    @property
    def project(self) -> str:
        """The project, or the registry of a link."""
        return self._holder_for("project").project

    @property
    def qualified_name(self) -> str:
        """`entity/project/name:vN`."""
        return self._holder_for("qualified_name").ref

    @property
    def url(self) -> str:
        """The command that shows it: there is no page yet."""
        return f"modelyard show {self._holder_for('url').ref}"

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
