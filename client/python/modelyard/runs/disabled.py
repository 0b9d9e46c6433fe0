"""`mode="disabled"`: runs that accept every call and send nothing, and the artifacts they return.

Config, summary and metrics work as in other runs. The arguments of calls about
versions, links and downloads are not checked; files are copied to a temporary
folder of this process at most.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from modelyard.artifacts.artifact import Artifact
from modelyard.artifacts.draft import Draft, DraftEntry
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.artifacts.fields import VersionFields
from modelyard.artifacts.logged import LoggedVersion
from modelyard.artifacts.name_lists import NameList
from modelyard.configuration.settings import Settings
from modelyard.contract import refs
from modelyard.query.comparison import Comparison
from modelyard.query.lineage import Lineage
from modelyard.rpc import records
from modelyard.rpc.records import FileEntry
from modelyard.runs.config import Config
from modelyard.runs.run import Run
from modelyard.sync.destination import RunStatus

if TYPE_CHECKING:
    from modelyard.artifacts.handles import CollectionHandle, RunHandle


class DisabledRun(Run):
    """A run that keeps config, summary and steps, and accepts the rest."""

    def __init__(
        self,
        record: records.RunRecord,
        settings: Settings,
        config: Config,
        on_finish: Callable[[Run], AbstractContextManager[None]],
    ) -> None:
        super().__init__(record, settings, config, tracking=None, on_finish=on_finish)

    def __reduce__(self) -> tuple[Any, ...]:
        return DisabledRun, (self._record, self._settings, self._config, _nothing_around)

    @property
    def dir(self) -> str:
        """A temporary folder; it is deleted when the process ends."""
        return str(_made(_scratch() / f"run-{self.id}" / "files"))

    @property
    def sync_dir(self) -> str:
        """The folder around `dir`."""
        return str(Path(self.dir).parent)

    def log_artifact(
        self, artifact_or_path: Any = None, name: Any = None, *args: Any, **kwargs: Any
    ) -> Artifact:
        """The artifact, or one of that name, as if it had been logged."""
        self._check_active("log_artifact")
        return self._accepted(artifact_or_path, name, *args, **kwargs)

    def use_artifact(self, artifact_or_name: Any = None, *args: Any, **kwargs: Any) -> Artifact:
        """The artifact, or one of that name without files."""
        self._check_active("use_artifact")
        return self._accepted(artifact_or_name, artifact_or_name, *args, **kwargs)

    def log_model(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""
        self._check_active("log_model")

    def use_model(self, name: Any = "", *args: Any, **kwargs: Any) -> str:
        """An empty folder that is deleted when the process ends."""
        self._check_active("use_model")
        return str(_made(_scratch() / "artifacts" / Path(str(name)).name))

    def link_model(
        self, path: Any = None, registered_model_name: Any = None, *args: Any, **kwargs: Any
    ) -> Artifact:
        """A link of that name to an artifact."""
        self._check_active("link_model")
        target = f"{refs.REGISTRY_PROJECT}/{_ref_of(registered_model_name).name}"
        return self._accepted(None, None, "model").link(target, kwargs.get("aliases"))

    def link_artifact(
        self, artifact: Any = None, target_path: Any = None, *args: Any, **kwargs: Any
    ) -> Artifact:
        """A link of the target's name to the artifact."""
        self._check_active("link_artifact")
        return self._accepted(artifact, None, "model").link(target_path, *args, **kwargs)

    upsert_artifact = finish_artifact = log_artifact

    def log_code(self, *args: Any, **kwargs: Any) -> Artifact:
        """An artifact of type `code` without files."""
        self._check_active("log_code")
        return self._accepted(None, f"source-{self.project}", "code")

    def lineage(self, *args: Any, **kwargs: Any) -> Lineage:
        """An empty graph."""
        self._check_active("lineage")
        return Lineage(self.id, (), (), ())

    def restore(
        self, name: Any = "", run_path: Any = None, replace: Any = False, root: Any = None
    ) -> TextIO | None:
        """The local file of that name; None when there is none."""
        local = Path(root or self.dir, str(name))
        return open(local, encoding="utf-8") if local.is_file() else None

    def alert(self, title: Any = "", text: Any = "", *args: Any, **kwargs: Any) -> None:
        """Prints nothing."""
        self._check_active("alert")

    def status(self) -> RunStatus:
        """Nothing is to be sent."""
        return RunStatus()

    def save(self, *args: Any, **kwargs: Any) -> list[str]:
        """Copies nothing."""
        self._check_active("save")
        return []

    def _accepted(
        self, given: Any, name: Any, type: Any = None, aliases: Any = None, tags: Any = None, **_: Any
    ) -> Artifact:
        if isinstance(given, Artifact):
            return accepted(given, self._record, aliases, tags) if given.is_draft() else given
        type_name = type if isinstance(type, str) and type else "unspecified"
        artifact = Artifact(_name_of(name), type_name)
        return accepted(artifact, self._record, aliases, tags)


class DisabledVersion(LoggedVersion):
    """A version of a disabled run: `v0` of its name, with the files of the draft that it was."""

    version: records.Version

    def __init__(self, version: records.Version, draft: Draft, link: records.Link | None = None) -> None:
        super().__init__(version, link)
        self.draft = draft

    @property
    def url(self) -> str:
        """The command that would show it."""
        return f"modelyard show {self.holder.ref}"

    def fields(self) -> VersionFields:
        """The fields, with lists that accept any name."""
        fields = super().fields()
        fields.aliases = NameList(fields.aliases, check=_unchecked)
        fields.tags = NameList(fields.tags, check=_unchecked)
        return fields

    def entries(self, member: str) -> Mapping[str, ArtifactEntry]:
        """The files of the draft."""
        return {path: self.entry(path, entry.size) for path, entry in self.draft.entries_by_path.items()}

    def entry(self, path: str, size: int | None = 0) -> ArtifactEntry:
        """An entry of a path, whether or not there is a file."""
        return ArtifactEntry(self, FileEntry(path, size))

    def download(self, root: Any = None, **_: Any) -> str:
        """Copies the files of the draft that exist into a folder."""
        folder = Path(root).expanduser().absolute() if root else _scratch() / "artifacts" / self.name
        for entry in self.draft.entries.values():
            if entry.local_path:
                with suppress(OSError):
                    target = folder / entry.path
                    shutil.copyfile(entry.local_path, _made(target.parent) / target.name)
        return str(_made(folder))

    def checkout(self, root: Any = None) -> str:
        """As `download`: nothing is removed."""
        return self.download(root)

    def sha256sums(self) -> dict[str, str]:
        """None of them."""
        return {}

    def verify(self, root: Any) -> None:
        """Does nothing."""

    def collection(self) -> CollectionHandle:
        """An empty collection of its name."""
        from modelyard.runs.disabled_collection import DisabledCollection

        return DisabledCollection(self.version, DisabledArtifact._of(self))

    source_collection = collection

    def without_link(self) -> LoggedVersion:
        """The version itself."""
        return DisabledVersion(self.version, self.draft)

    def links(self) -> Sequence[LoggedVersion]:
        """None."""
        return ()

    def logged_by(self) -> RunHandle | None:
        """None."""
        return None

    def used_by(self) -> Sequence[RunHandle]:
        """None."""
        return []

    def lineage(self, depth: int, direction: str) -> Lineage:
        """An empty graph."""
        return Lineage(self.version.id, (), (), ())

    def compare(self, base: Any, path_prefix: str) -> Comparison:
        """No difference."""
        return Comparison(self.version.ref, self.version.ref, (), 0, 0, 0, None, (), ())

    def save(self, fields: VersionFields) -> LoggedVersion:
        """Sends nothing."""
        return self

    def link_to(self, target_path: Any, aliases: Any) -> LoggedVersion:
        """The version, as if it had been linked to the target."""
        target, source = _ref_of(target_path), self.version
        link = records.Link(
            id=str(uuid.uuid4()), registered_model_id=str(uuid.uuid4()),
            entity=target.entity or source.entity, project=target.project or source.project,
            name=target.name, number=0, aliases=tuple(dict.fromkeys([*_texts(aliases), refs.LATEST])),
            source=source, created_by="", create_time=source.create_time,
        )  # fmt: skip
        return DisabledVersion(source, self.draft, link)

    def unlink(self) -> None:
        """Does nothing."""

    def delete(self, delete_aliases: bool) -> LoggedVersion:
        """Does nothing."""
        return self


class DisabledArtifact(Artifact):
    """An artifact of a disabled run. Arguments are not checked, and files may still be added."""

    @property
    def _disabled(self) -> DisabledVersion:
        assert isinstance(self._content, DisabledVersion)
        return self._content

    def _draft(self, call: str) -> Draft:
        return self._disabled.draft

    def get_entry(self, name: Any) -> ArtifactEntry:
        """An entry of that path, whether or not there is one."""
        return self._disabled.entries("get_entry").get(str(name)) or self._disabled.entry(str(name))

    def get_path(self, name: Any) -> ArtifactEntry:
        """An entry of that path, whether or not there is one."""
        return self.get_entry(name)

    def add_reference(self, *args: Any, **kwargs: Any) -> list[DraftEntry]:
        """Does nothing."""
        return []

    def remove(self, item: Any) -> None:
        """Removes a file, if it is there."""
        with suppress(OSError, TypeError, ValueError):
            super().remove(item)

    def file(self, root: Any = None) -> str:
        """The path of its file; of several or none the folder."""
        paths = list(self._disabled.draft.entries)
        return str(Path(self.download(root), *paths[: len(paths) == 1]))

    def verify(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing."""

    def new_draft(self) -> Artifact:
        """Itself: files may still be added."""
        return self

    def lineage(self, *args: Any, **kwargs: Any) -> Lineage:
        """An empty graph."""
        return self._disabled.lineage(0, "")

    def compare(self, *args: Any, **kwargs: Any) -> Comparison:
        """No difference."""
        return self._disabled.compare("", "")

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Sends nothing."""

    def link(self, target_path: Any = None, aliases: Any = None) -> Artifact:
        """A link of the target's name to it."""
        return DisabledArtifact._of(self._disabled.link_to(target_path, aliases))


def accepted(artifact: Artifact, run: records.RunRecord, aliases: Any = None, tags: Any = None) -> Artifact:
    """Makes a draft, the object itself, a DisabledArtifact, as if a run had logged it."""
    made = _version(
        artifact.name, artifact.type, run.entity, run.project, [*artifact.aliases, *_texts(aliases)]
    )
    version = replace(
        made,
        description=artifact.description or "",
        metadata=artifact.metadata,
        tags=tuple(dict.fromkeys([*artifact.tags, *_texts(tags)])),
        size_bytes=artifact.size,
        file_count=artifact.file_count,
        expire_time=made.create_time + artifact.ttl if artifact.ttl else None,
    )
    draft = artifact._draft("log_artifact")
    artifact.__class__ = DisabledArtifact
    artifact._become(DisabledVersion(version, draft))
    return artifact


def _version(name: str, type: str, entity: str, project: str, aliases: Any) -> records.Version:
    now = datetime.datetime.now(datetime.UTC)
    return records.Version(
        id=str(uuid.uuid4()), model_artifact_id=str(uuid.uuid4()), entity=entity, project=project,
        name=name, type=type, number=0, aliases=tuple(dict.fromkeys([*_texts(aliases), refs.LATEST])),
        description="", metadata={}, tags=(), digest="0" * 64, size_bytes=0, file_count=0, deleted=False,
        created_by="", create_time=now, update_time=now, expire_time=None, producer_run_id="",
        history_step=None, linked_to=(),
    )  # fmt: skip


def _nothing_around(run: Run) -> AbstractContextManager[None]:
    return nullcontext()


def _unchecked(name: str) -> str:
    return name


def _texts(names: Any) -> list[str]:
    """A name or a list of names as a list, without anything that is not text."""
    if isinstance(names, str):
        return [names]
    return [name for name in names if isinstance(name, str)] if isinstance(names, Iterable) else []


def _name_of(text: Any) -> str:
    """The name in a reference, made valid; `disabled` where there is none."""
    return refs.artifact_name(_ref_of(text).name)


def _ref_of(text: Any) -> refs.Ref:
    """A reference; `disabled` for what is none."""
    try:
        return refs.parse(text)
    except (AttributeError, TypeError, ValueError):
        return refs.Ref("", "", "disabled")


def _made(folder: Path) -> Path:
    """The folder; it is created if possible."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _scratch() -> Path:
    """A temporary folder, deleted when the process ends; a missing path where none can be made."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="modelyard-disabled-"))
    except OSError:
        return Path(os.path.abspath("modelyard-disabled"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not in a forked process, whose parent made it
        shutil.rmtree(folder, ignore_errors=True)
