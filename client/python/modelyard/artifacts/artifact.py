"""`Artifact`: files with a name, as a draft or as a logged version."""

from __future__ import annotations

import copy
import datetime
import enum
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, Protocol

from modelyard.arguments import checked_calls
from modelyard.artifacts import active_run, handles
from modelyard.artifacts.draft import Draft, DraftEntry
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.artifacts.fields import VersionFields, checked_metadata
from modelyard.artifacts.logged import LoggedVersion
from modelyard.artifacts.manifest import Manifest
from modelyard.artifacts.name_lists import NameList
from modelyard.artifacts.pending_version import PendingVersion, Upload
from modelyard.contract import errors, refs
from modelyard.host import notebook, terminal
from modelyard.host.local_files import check_readable, files_below, is_folder
from modelyard.media.media import Media
from modelyard.references import schemes as references
from modelyard.rpc import records

if TYPE_CHECKING:
    from modelyard.artifacts.handles import CollectionHandle, RunHandle
    from modelyard.configuration.settings import Settings
    from modelyard.query.comparison import Comparison
    from modelyard.query.lineage import Lineage


class ArtifactTTL(enum.Enum):
    """What `artifact.ttl` takes besides a timedelta and None."""

    INHERIT = "inherit"
    """The server's default: the version does not expire."""


class Workspace(handles.Workspace, Protocol):
    """What handles that return artifacts need of their workspace."""

    def artifact(
        self, found: records.Version | records.Link, through: records.Link | None = None
    ) -> Artifact:
        """The handle of a version, perhaps reached through a link, or of a link."""


@checked_calls()
class Artifact:
    """A draft that files are added to; once logged, a version of them.

    The content of a logged version is frozen; description, metadata, tags,
    aliases and ttl may change, then `save()`. With `incremental`, the files of
    the newest version of the name are kept besides those that are added.
    Members that only a logged version has raise ArtifactNotLoggedError on a draft.

    Through a link, name, version, entity and project are the link's; what
    starts with `source_` is always the version's own. Of a link whose source
    the key may not read, only the link's are known: description, metadata and
    tags are empty, other members raise NotAllowed.

    Large files are sent in the background; until they are committed, those members
    wait, and `state` is PENDING. What may change is local until then.

    A copy of a draft is a draft of its own. A pickle holds no key and no bytes:
    the process that reads it uses its own key, and finds a draft's files at their paths.
    """

    distributed_id: str | None = None
    """Which runs make the version together, where `upsert_artifact` and `finish_artifact` do not say."""
    _is_final = False

    def __init__(
        self,
        name: str,
        type: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
    ) -> None:
        self._name = refs.check_artifact_name(name)
        if not type:
            raise ValueError("type is empty: an artifact has one, such as 'model' or 'dataset'")
        self._type = type
        self._values = VersionFields(description, checked_metadata(metadata))
        self.use_as = use_as
        self.incremental = bool(incremental)
        self._held: Draft | PendingVersion | LoggedVersion = Draft()

    @classmethod
    def _of(cls, logged: LoggedVersion) -> Artifact:
        artifact = cls.__new__(cls)
        artifact.use_as, artifact.incremental = None, False
        artifact._become(logged)
        return artifact

    def _become(self, logged: LoggedVersion) -> None:
        """Makes this object the logged version."""
        self._held = logged
        self._name = logged.holder.name
        self._type = logged.version.type if logged.version else ""
        self._values = logged.fields()

    def _become_pending(self, workspace: Workspace, upload: Upload, aliases: Iterable[str]) -> None:
        """Makes this object a version that is being sent, with these aliases."""
        names = [*aliases, refs.LATEST]
        self._values.aliases = NameList(names, check=refs.check_alias)
        self._held = PendingVersion(workspace, upload, self._values)

    def _settle(self, timeout: float | None = None, *, patient: bool = False) -> None:
        """Makes this object the logged version once its upload is committed; see `PendingVersion.wait`."""
        pending = self._held
        if isinstance(pending, PendingVersion):
            logged, present = pending.wait(timeout, patient=patient), self._values
            self._become(logged)
            pending.carry_over(present, self._values)

    @property
    def _content(self) -> Draft | LoggedVersion:
        """What it is; waits for an upload in the background."""
        self._settle()
        assert not isinstance(self._held, PendingVersion)
        return self._held

    @property
    def _fields(self) -> VersionFields:
        """What may change; does not wait."""
        if isinstance(self._held, PendingVersion) and self._held.is_committed:
            self._settle()
        return self._values

    @property
    def _is_pending(self) -> bool:
        return isinstance(self._held, PendingVersion) and not self._held.is_committed

    def __copy__(self) -> Artifact:
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        if self.is_draft() or self._is_pending:
            return f"<Artifact {self._name} ({'draft' if self.is_draft() else 'being uploaded'})>"
        return f"<Artifact {self.qualified_name}>"

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        if self._is_pending:
            return notebook.card(f"{self._type} {self._name}", {"State": "being uploaded"})
        title = f"{self._type or 'Artifact'} {self.name}"
        if isinstance(self._content, Draft):
            size = terminal.human_bytes(self.size)
            return notebook.card(title, {"State": "draft", "Files": self.file_count, "Size": size})
        rows: dict[str, Any] = {"Path": self.qualified_name, "Aliases": ", ".join(self.aliases)}
        version = self._content.version
        if version is not None:
            rows |= {
                "Source version": version.ref if self.is_link else "",
                "Description": self.description,
                "Tags": ", ".join(self.tags),
                "Files": version.file_count,
                "Size": terminal.human_bytes(version.size_bytes),
                "Logged": self.created_at,
                "Digest": version.digest,
            }
        return notebook.card(title, rows, shown_by=self.url)

    def __eq__(self, other: object) -> bool:
        if self is other or not isinstance(other, Artifact) or isinstance(self._content, Draft):
            return self is other
        return isinstance(other._content, LoggedVersion) and self._content.identity == other._content.identity

    def __hash__(self) -> int:
        return hash(id(self) if isinstance(self._content, Draft) else self._content.identity)

    def _draft(self, call: str) -> Draft:
        """The draft. ArtifactFinalizedError once it is logged."""
        if not isinstance(self._held, Draft):
            name = self._name if self._is_pending else self.name
            raise errors.ArtifactFinalizedError(
                f"'Artifact.{call}' used on logged artifact {name}: its content is frozen; "
                "new_draft() starts the next version",
                name=call,
                obj=self,
            )
        return self._held

    def _open_draft(self, call: str) -> Draft:
        """The draft, to be changed. ArtifactFinalizedError once it is logged or final."""
        draft = self._draft(call)
        if self._is_final:
            raise errors.ArtifactFinalizedError(
                f"'Artifact.{call}' used after finalize() of {self._name}", name=call, obj=self
            )
        return draft

    def _logged(self, member: str) -> LoggedVersion:
        """The logged version. ArtifactNotLoggedError on a draft."""
        if isinstance(self._content, Draft):
            raise errors.ArtifactNotLoggedError(
                f"'Artifact.{member}' used prior to logging artifact {self._name!r}: call "
                "run.log_artifact(artifact) first; an offline run logs it when `modelyard sync` sends it",
                name=member,
                obj=self,
            )
        return self._content

    def _source(self, member: str) -> records.Version:
        """The version itself. NotAllowed for a link whose source the key may not read."""
        return self._logged(member).source(member)

    def _holder(self, member: str) -> records.Version | records.Link:
        """What has the name, number and aliases: the link, else the version."""
        return self._logged(member).holder

    # What it is.

    def is_draft(self) -> bool:
        """Whether it was not logged yet."""
        return isinstance(self._held, Draft)

    @property
    def is_link(self) -> bool:
        """Whether it was reached through a registered model."""
        return isinstance(self._held, LoggedVersion) and self._held.link is not None

    def finalize(self) -> None:
        """Ends changes of the content: to add or remove files raises ArtifactFinalizedError from now on."""
        self._is_final = True

    @property
    def state(self) -> str:
        """`PENDING`, `COMMITTED` or `DELETED`."""
        if self._is_pending or isinstance(self._content, Draft):
            return "PENDING"
        return "DELETED" if self._content.version and self._content.version.deleted else "COMMITTED"

    @property
    def name(self) -> str:
        """The name; of a logged version with its number: `bert:v3`."""
        return self._name if isinstance(self._content, Draft) else self._content.name

    @property
    def type(self) -> str:
        """`model`, `dataset`, …; empty for a link whose source the key may not read."""
        return self._type

    @property
    def size(self) -> int:
        """Sum of the sizes of its files, in bytes."""
        if isinstance(self._content, Draft):
            return sum(entry.size or 0 for entry in self._content.entries_by_path.values())
        return self._source("size").size_bytes

    @property
    def file_count(self) -> int:
        """Number of its files."""
        if isinstance(self._content, Draft):
            return len(self._content.entries_by_path)
        return self._source("file_count").file_count

    id = property(lambda self: self._source("id").id, doc="Global id of the version.")
    digest = property(lambda self: self._source("digest").digest, doc="Version digest, 64 lower-case hex.")
    commit_hash = property(lambda self: self._source("commit_hash").digest, doc="Same as `digest`.")
    version = property(
        lambda self: f"v{self._holder('version').number}",
        doc="`v0`, `v1`, …: of the link when it was reached through a registered model.",
    )
    entity = property(lambda self: self._holder("entity").entity, doc="Who owns it.")
    project = property(
        lambda self: self._holder("project").project, doc="The project, or the registry of a link."
    )
    qualified_name = property(
        lambda self: self._holder("qualified_name").ref, doc="`entity/project/name:vN`."
    )
    url = property(
        lambda self: self._logged("url").url,
        doc="Where the page shows it; without a page the command that shows it.",
    )
    created_at = property(
        lambda self: self._source("created_at").create_time.isoformat(), doc="ISO 8601, UTC."
    )
    updated_at = property(
        lambda self: self._source("updated_at").update_time.isoformat(), doc="ISO 8601, UTC."
    )
    source_version = property(
        lambda self: f"v{self._source('source_version').number}", doc="`vN` of the version itself."
    )
    source_entity = property(
        lambda self: self._source("source_entity").entity, doc="Entity of the version itself."
    )
    source_project = property(lambda self: self._source("source_project").project, doc="Its project.")
    source_qualified_name = property(
        lambda self: self._source("source_qualified_name").ref,
        doc="`entity/project/name:vN` of the version itself.",
    )

    @property
    def source_name(self) -> str:
        """`name:vN` of the version itself, also through a link."""
        version = self._source("source_name")
        return f"{version.name}:v{version.number}"

    @property
    def source_artifact(self) -> Artifact:
        """The version itself: of a link its source, else this object."""
        return Artifact._of(self._logged("source_artifact").without_link()) if self.is_link else self

    @property
    def linked_at(self) -> str | None:
        """When the link was made that it is: ISO 8601, UTC; None for a source."""
        link = self._logged("linked_at").link
        return link.create_time.isoformat() if link else None

    @property
    def digest_algorithm(self) -> str:
        """`sha256`: how `digest` is made of its content."""
        return "sha256"

    @property
    def history_step(self) -> int | None:
        """The newest step that its run had logged; None when not known, or before the first row."""
        return self._source("history_step").history_step

    # What may change.

    @property
    def description(self) -> str | None:
        """Free text, None without one. Set it, then `save()`."""
        return self._fields.description

    @description.setter
    def description(self, description: str | None) -> None:
        self._fields.description = description

    @property
    def metadata(self) -> dict[str, Any]:
        """At most 100 keys at the top; NaN becomes None. Change or set it, then `save()`.

        ValueError for infinities: at once when it is set, else when it is sent.
        """
        return self._fields.metadata

    @metadata.setter
    def metadata(self, metadata: Mapping[str, Any] | None) -> None:
        self._fields.metadata = checked_metadata(metadata)

    @property
    def aliases(self) -> NameList:
        """Names that point at it, of a link the link's; change the list, then `save()`."""
        return self._fields.aliases

    @aliases.setter
    def aliases(self, aliases: Iterable[str]) -> None:
        self._fields.aliases = self._fields.aliases.replaced(aliases)

    @property
    def tags(self) -> NameList:
        """Tags of the version; change the list, then `save()`."""
        return self._fields.tags

    @tags.setter
    def tags(self, tags: Iterable[str]) -> None:
        self._fields.tags = self._fields.tags.replaced(tags)

    @property
    def ttl(self) -> datetime.timedelta | None:
        """How long after it was logged the version expires; None: never. Set it, then `save()`.

        ValueError on a link: linking clears it.
        """
        return self._fields.ttl

    @ttl.setter
    def ttl(self, ttl: datetime.timedelta | ArtifactTTL | None) -> None:
        if self.is_link:
            raise ValueError("a link has no ttl: set it on the source version")
        if ttl is None or isinstance(ttl, ArtifactTTL):
            self._fields.ttl = None
        elif not isinstance(ttl, datetime.timedelta):
            raise TypeError(f"ttl is a timedelta, ArtifactTTL.INHERIT or None, not {type(ttl).__name__}")
        elif ttl <= datetime.timedelta(0):
            raise ValueError("ttl must be positive")
        else:
            self._fields.ttl = ttl

    def save(self, project: str | None = None, settings: Settings | Mapping[str, Any] | None = None) -> None:
        """Sends changes of description, metadata, tags, aliases and ttl; logs a draft.

        Aliases move in one step, all or none; what others changed meanwhile stays. A draft is
        logged by the active run; without one, by a run of job type `auto` that is made for it,
        in `project` and with `settings`.
        """
        if self.is_draft():
            with active_run.for_saving(project, settings) as run:
                run.log_artifact(self)
        else:
            self._become(self._logged("save").save(self._fields))

    # Adding files to a draft.

    def add_file(
        self,
        local_path: str | os.PathLike[str],
        name: str | os.PathLike[str] | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> DraftEntry:
        """Adds one file, as `name` (default: its own name).

        It is copied at once, so that it may change before it is logged; with
        `policy="immutable"` it is read when it is logged. Errors: ValueError, LocalFileError.
        """
        draft = self._open_draft("add_file")
        if policy not in {"mutable", "immutable", None}:
            raise ValueError(f"policy must be 'mutable' or 'immutable', not {policy!r}")
        source = Path(local_path).expanduser()
        path = _entry_path(name) or source.name
        return draft.add(source, path, copy=policy != "immutable", overwrite=overwrite)

    def add_dir(
        self,
        local_path: str | os.PathLike[str],
        name: str | os.PathLike[str] | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Adds all files below a folder, under `name` (default: at the top); links to folders are followed.

        Errors: ValueError, LocalFileError for what cannot be read or is no file;
        then nothing is added.
        """
        draft = self._open_draft("add_dir")
        folder = Path(local_path).expanduser().absolute()
        if not is_folder(folder):
            raise ValueError(f"{os.fspath(local_path)!r} is not a folder")
        found = list(files_below(folder, (_entry_path(name) or "").strip("/")))
        for file in found:  # all of them first: an error leaves the draft as it was
            check_readable(file.source)
        for file in found:
            draft.add(Path(file.source), file.path, copy=policy != "immutable", overwrite=merge)

    def new_file(
        self, name: str | os.PathLike[str], mode: str = "x", encoding: str | None = None
    ) -> AbstractContextManager[IO[Any]]:
        """`with artifact.new_file("notes.txt") as file: …` writes a file of the artifact."""
        return self._open_draft("new_file").write(_entry_path(name) or "", mode, encoding)

    def add_reference(
        self,
        uri: str | ArtifactEntry | DraftEntry,
        name: str | os.PathLike[str] | None = None,
        checksum: bool = True,
        max_objects: int | None = None,
    ) -> Sequence[DraftEntry]:
        """Adds where bytes are kept, instead of the bytes: `s3://`, `gs://`, `https://`, `file://`.

        An entry of another artifact is added with its content, which the server keeps once.

        A folder, prefix or bucket expands to all of its objects, below `name`
        (default: at the top). Of each the tag (ETag, or SHA-256 of a file) and size are recorded,
        unless `checksum=False`: then only the URI. Other schemes need `name`.
        Errors: ValueError without a scheme, for more than `max_objects`
        (default: 500,000), for a path that is taken; ReferenceMissing, Error.
        """
        draft = self._open_draft("add_reference")
        if isinstance(uri, ArtifactEntry | DraftEntry):
            return [draft.add_entry(uri, _entry_path(name) or uri.path)]
        return draft.add_references(references.expand(uri, _entry_path(name), checksum, max_objects))

    def add(self, obj: Media, name: str | os.PathLike[str], overwrite: bool = False) -> DraftEntry:
        """Adds media, such as a Table or an Image: `<name>.<type>.json`, and its files below `media`.

        `get` returns it. Errors: TypeError, ValueError for a name that is taken, unless `overwrite`.
        """
        from modelyard.artifacts import objects

        return objects.add(self._open_draft("add"), obj, os.fspath(name), overwrite=overwrite)

    def __setitem__(self, name: str, obj: Media) -> None:
        self.add(obj, name)

    def remove(self, item: str | os.PathLike[str] | DraftEntry | ArtifactEntry) -> None:
        """Removes a file from a draft, or all below a folder. FileNotFoundError when there is none."""
        path = item.path if isinstance(item, DraftEntry | ArtifactEntry) else os.fspath(item)
        self._open_draft("remove").remove(path)

    # Reading.

    @property
    def manifest(self) -> Manifest:
        """`manifest.entries` maps path → entry."""
        self._entries()
        return Manifest(self._entries, self._open_draft)

    def get_added_local_path_name(self, local_path: str | os.PathLike[str]) -> str | None:
        """Where in the artifact a local file is that was added to the draft; None for another file."""
        return self._content.path_of(local_path) if isinstance(self._content, Draft) else None

    def json_encode(self) -> dict[str, Any]:
        """What names the version in a config or summary."""
        version = self._source("json_encode")
        return {
            "_type": "artifactVersion",
            "_version": "v0",
            "id": version.id,
            "version": f"v{version.number}",
            "sequenceName": version.name,
            "usedAs": self.use_as,
        }

    def _entries(self) -> Mapping[str, ArtifactEntry | DraftEntry]:
        if isinstance(self._content, Draft):
            return self._content.entries_by_path
        return self._content.entries("manifest")

    def get_entry(self, name: str | os.PathLike[str]) -> ArtifactEntry | DraftEntry:
        """The entry of a path. KeyError when there is none."""
        entries = self._entries()
        path = os.fspath(name)
        if path not in entries:
            raise KeyError(f"Path not contained in artifact: {path}")
        return entries[path]

    def get(self, name: str) -> Media | None:
        """The Table, Image or other media that was added as `name`; None when there is none.

        Its files are downloaded, as `download` does.
        """
        from modelyard.artifacts import objects

        path = objects.find(self._entries(), name)
        return None if path is None else objects.load(path, self)

    def __getitem__(self, name: str) -> Media | None:
        if not isinstance(name, str):  # else Python would iterate over artifacts without end
            raise TypeError(f"artifact[name]: name is a str, not {type(name).__name__}")
        return self.get(name)

    def get_path(self, name: str | os.PathLike[str]) -> ArtifactEntry:
        """The entry of a path, of a logged version. KeyError when there is none."""
        self._source("get_path")
        found = self.get_entry(name)
        assert isinstance(found, ArtifactEntry)
        return found

    def files(self, names: Sequence[str] | str | None = None, per_page: int = 50) -> list[ArtifactEntry]:
        """Its entries, by path; only those of `names` when given."""
        entries = self._logged("files").entries("files")
        wanted = entries.keys() if names is None else {names} if isinstance(names, str) else set(names)
        return [entry for path, entry in entries.items() if path in wanted]

    def download(
        self,
        root: str | os.PathLike[str] | None = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: str | os.PathLike[str] | None = None,
        multipart: bool | None = None,
    ) -> str:
        """Downloads its files into `root` and returns it, absolute.

        Default: `<MODELYARD_ARTIFACT_DIR or ./artifacts>/<source name:vN>`. What
        is there already, or in the local cache, costs no transfer; with
        `skip_cache` the cache is not used. `path_prefix` limits it to the
        paths that start with it. References are fetched from where they point:
        ReferenceChanged where something else is there by now, ReferenceMissing where
        nothing is, unless `allow_missing_references`: then a warning. `multipart` is
        accepted: large files are always fetched in parts.
        """
        return self._logged("download").download(
            root,
            skip_cache=skip_cache,
            path_prefix=os.fspath(path_prefix) if path_prefix else "",
            allow_missing_references=allow_missing_references,
        )

    def checkout(self, root: str | os.PathLike[str] | None = None) -> str:
        """As `download`, after removing the files in `root` that the version does not have.

        Default: `<MODELYARD_ARTIFACT_DIR or ./artifacts>/<source name>`. Links are removed, not followed.
        """
        return self._logged("checkout").checkout(root)

    def file(self, root: str | os.PathLike[str] | None = None) -> str:
        """Downloads the only file of a version and returns its path. ValueError when there are others."""
        paths = list(self._logged("file").entries("file"))
        if len(paths) != 1:
            raise ValueError(f"{self.name} has {len(paths)} files; use download()")
        return str(Path(self.download(root), paths[0]))

    def sha256sums(self) -> dict[str, str]:
        """The plain SHA-256 of each file by path, as `sha256sum` prints it; references are left out.

        The server knows them of small files and of those that were uploaded by
        simple calls; others it reads first, once, which takes a while for large ones.
        """
        return self._logged("sha256sums").sha256sums()

    def verify(self, root: str | os.PathLike[str] | None = None) -> None:
        """Checks that a downloaded folder holds the version's files, unchanged, and no others.

        Default `root`: where `download` puts them. References are not looked at.
        ValueError names the first file that is missing, differs or does not belong.
        """
        self._logged("verify").verify(root)

    def wait(self, timeout: float | None = None) -> Artifact:
        """Waits until the version is committed, and returns itself.

        Errors: WaitTimeoutError after `timeout` seconds (default: as long as it takes),
        and what the server refused.
        """
        self._settle(timeout, patient=True)
        self._logged("wait")
        return self

    def new_draft(self) -> Artifact:
        """A draft of the next version: it has this one's files, description and metadata.

        Files may be added, replaced (`overwrite=True`) and removed; files that stay are
        not sent again. Log it as any other draft.
        """
        version = self._source("new_draft")
        draft = Artifact(version.name, version.type, version.description or None, version.metadata)
        entries = self._logged("new_draft").entries("new_draft")
        draft._draft("new_draft").base_on(version.id, entries)
        return draft

    # What it belongs to.

    @property
    def collection(self) -> CollectionHandle:
        """The artifact, or through a link the registered model, that it is a version of."""
        return self._logged("collection").collection()

    @property
    def source_collection(self) -> CollectionHandle:
        """The artifact it is a version of, also through a link."""
        return self._logged("source_collection").source_collection()

    @property
    def linked_artifacts(self) -> list[Artifact]:
        """The links to it, as they stand now; none of a link."""
        if self.is_link:
            return []
        return [Artifact._of(link) for link in self._logged("linked_artifacts").links()]

    def logged_by(self) -> RunHandle | None:
        """The run that made it first; None when it was logged without one, or the run was deleted."""
        return self._logged("logged_by").logged_by()

    def used_by(self) -> Sequence[RunHandle]:
        """The runs that used it and were not deleted."""
        return self._logged("used_by").used_by()

    def lineage(self, depth: int = 2, direction: str = "both") -> Lineage:
        """Runs and versions around it: `direction` is upstream, downstream or both; `depth` 1 to 32 steps."""
        return self._logged("lineage").lineage(depth, direction)

    def compare(self, base: Artifact | str, path_prefix: str = "") -> Comparison:
        """What changed from another version to this one: files, metadata, results of their runs.

        `base` may be a reference; what it leaves out is that of this version. `path_prefix` limits the
        files. NotFound if there is no such version.
        """
        if not isinstance(base, Artifact | str):
            raise TypeError(f"compare: base must be an Artifact or a str, not {type(base).__name__}")
        other = base if isinstance(base, str) else base._logged("compare")
        return self._logged("compare").compare(other, path_prefix)

    # Linking and deleting.

    def link(self, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
        """Links it into a registered model and returns the link; a draft is logged first.

        `target_path` is `name`, `project/name` or `entity/project/name`. Without an entity it is the
        source's; without a project that of MODELYARD_PROJECT, else `uncategorized`. Registries
        are projects: `model-registry/name`. `aliases` go to the link only.
        """
        if self.is_draft():
            refs.link_target(target_path, "")  # checked first: with a wrong target nothing is logged
            self.save()
            return self.link(target_path, aliases)  # a disabled run makes it a DisabledArtifact
        return Artifact._of(self._logged("link").link_to(target_path, aliases))

    def unlink(self) -> None:
        """Removes the link that it is; the source stays. ValueError on a source."""
        self._logged("unlink").unlink()

    def delete(self, delete_aliases: bool = False) -> None:
        """Deletes the version, or of a link the link alone.

        CommError when a version has aliases or links, unless `delete_aliases`:
        then they are deleted too.
        """
        self._held = self._logged("delete").delete(delete_aliases)


def _entry_path(name: str | os.PathLike[str] | None) -> str | None:
    """The path of an entry, with `/` between its parts on every system."""
    return name.as_posix() if isinstance(name, PurePath) else os.fspath(name) if name is not None else None
