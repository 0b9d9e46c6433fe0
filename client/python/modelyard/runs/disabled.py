"""`mode="disabled"`: runs that take every call and send nothing, and what they return.

Config, summary and metrics work as ever. Versions, links and downloads are
accepted without a look at their arguments; files go no further than a
temporary folder of this process.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.artifacts.alias_lists import Labels
from modelyard.artifacts.artifact import Artifact
from modelyard.artifacts.draft import Draft, DraftEntry
from modelyard.artifacts.entries import ArtifactEntry
from modelyard.configuration.settings import Settings
from modelyard.contract import refs
from modelyard.query.listing import Listing
from modelyard.registry.collection import RegisteredModel
from modelyard.registry.lineage import Lineage
from modelyard.rpc import records
from modelyard.rpc.records import FileEntry
from modelyard.runs.config import Config
from modelyard.runs.run import Run

if TYPE_CHECKING:
    from modelyard.runs.public_run import PublicRun


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

    @property
    def dir(self) -> str:
        """A temporary folder; it is deleted when the process ends."""
        return str(_made(_scratch() / f"run-{self.id}" / "files"))

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
        """An artifact of that name."""
        self._check_active("link_model")
        return self._accepted(None, registered_model_name, "model")

    def link_artifact(
        self, artifact: Any = None, target_path: Any = None, *args: Any, **kwargs: Any
    ) -> Artifact:
        """An artifact of the target's name."""
        self._check_active("link_artifact")
        kind = artifact.type if isinstance(artifact, Artifact) else "model"
        return self._accepted(None, target_path, kind)

    upsert_artifact = finish_artifact = log_artifact

    def log_code(self, *args: Any, **kwargs: Any) -> Artifact:
        """An artifact of type `code` without files."""
        self._check_active("log_code")
        return self._accepted(None, f"source-{self.project}", "code")

    def lineage(self, *args: Any, **kwargs: Any) -> Lineage:
        """An empty graph."""
        self._check_active("lineage")
        return Lineage(self.id, (), (), ())

    def save(self, *args: Any, **kwargs: Any) -> list[str]:
        """Copies nothing."""
        self._check_active("save")
        return []

    def _accepted(
        self, given: Any, name: Any, type: Any = None, aliases: Any = None, tags: Any = None, **_: Any
    ) -> Artifact:
        if isinstance(given, Artifact):
            return accepted(given, self._record, self._settings, aliases, tags) if given.is_draft else given
        kind = type if isinstance(type, str) and type else "unspecified"
        artifact = Artifact(_name_of(name), kind)
        return accepted(artifact, self._record, self._settings, aliases, tags)


class DisabledArtifact(Artifact):
    """A version of a disabled run: `v0` of its name, with the files of the draft that it was."""

    def _open_draft(self, what: str) -> Draft:
        return self._draft

    def _logged_entries(self, member: str) -> Mapping[str, ArtifactEntry]:
        return {path: self._entry(path, entry.size) for path, entry in self._draft.everything.items()}

    def _entry(self, path: str, size: int | None = 0) -> ArtifactEntry:
        return ArtifactEntry(self, FileEntry(path, size))

    def get_entry(self, name: Any) -> ArtifactEntry:
        """An entry of that path, whether or not there is one."""
        return self._logged_entries("get_entry").get(str(name)) or self._entry(str(name))

    def get_path(self, name: Any) -> ArtifactEntry:
        """An entry of that path, whether or not there is one."""
        return self.get_entry(name)

    def add_reference(self, *args: Any, **kwargs: Any) -> list[DraftEntry]:
        """Looks at nothing."""
        return []

    def remove(self, item: Any) -> None:
        """Takes a file out, if it is there."""
        with suppress(OSError, TypeError, ValueError):
            super().remove(item)

    def _download(self, root: Any = None, **_: Any) -> str:
        place = Path(root).expanduser().absolute() if root else _scratch() / "artifacts" / self.source_name
        for entry in self._draft.entries.values():
            if entry.local_path:
                with suppress(OSError):
                    target = place / entry.path
                    shutil.copyfile(entry.local_path, _made(target.parent) / target.name)
        return str(_made(place))

    def file(self, root: Any = None) -> str:
        """The path of its file; of several or none the folder."""
        paths = list(self._draft.entries)
        return str(Path(self.download(root), *paths[: len(paths) == 1]))

    def verify(self, *args: Any, **kwargs: Any) -> None:
        """Looks at nothing."""

    def new_draft(self) -> Artifact:
        """Itself: it goes on taking files."""
        return self

    @property
    def collection(self) -> RegisteredModel:
        """An empty collection of its name."""
        return DisabledCollection(self)

    source_collection = collection

    @property
    def linked_artifacts(self) -> list[Artifact]:
        """None."""
        return []

    def logged_by(self) -> PublicRun | None:
        """None."""
        return None

    def used_by(self) -> list[PublicRun]:
        """None."""
        return []

    def lineage(self, *args: Any, **kwargs: Any) -> Lineage:
        """An empty graph."""
        return Lineage(self.id, (), (), ())

    def save(self) -> None:
        """Sends nothing."""

    def link(self, target_path: Any = None, aliases: Any = None) -> Artifact:
        """An artifact of the target's name."""
        version = self._logged("link")
        linked = Artifact(_name_of(target_path), self.type)
        return _logged(linked, version.entity, version.project, self._settings, aliases)

    def unlink(self) -> None:
        """Does nothing."""

    def delete(self, delete_aliases: bool = False) -> None:
        """Does nothing."""


class DisabledCollection(RegisteredModel):
    """The name of a version of a disabled run; it has no versions."""

    def __init__(self, artifact: Artifact) -> None:
        version = artifact._logged("collection")
        self._record = records.Collection(
            id=version.model_artifact_id, entity=version.entity, project=version.project, name=version.name,
            type=version.type, description="", tags=(), version_count=0, create_time=version.create_time,
            update_time=version.create_time, registered=False,
        )  # fmt: skip
        self._artifact = artifact
        self._take(self._record)

    def _records(self, *_: Any) -> Iterator[records.Version | records.Link]:
        return iter(())

    def _fresh(self) -> records.Collection:
        return self._record

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


def accepted(
    artifact: Artifact, run: records.RunRecord, settings: Settings, aliases: Any = None, tags: Any = None
) -> Artifact:
    """A draft as if a run had logged it: that very object."""
    artifact._tags = _labels([*artifact.tags, *_texts(tags)])
    return _logged(artifact, run.entity, run.project, settings, aliases)


def _logged(
    artifact: Artifact, entity: str, project: str, settings: Settings | None, aliases: Any
) -> Artifact:
    now = datetime.datetime.now(datetime.UTC)
    names = tuple(dict.fromkeys([*artifact.aliases, *_texts(aliases), refs.LATEST]))
    version = records.Version(
        id=str(uuid.uuid4()), model_artifact_id=str(uuid.uuid4()), entity=entity, project=project,
        name=artifact.name, type=artifact.type, number=0, aliases=names,
        description=artifact.description or "", metadata=artifact.metadata, tags=tuple(artifact.tags),
        digest="0" * 64, size_bytes=artifact.size, file_count=artifact.file_count, deleted=False,
        created_by="", create_time=now, update_time=now, expire_time=None,
        producer_run_id="", history_step=-1, linked_to=(),
    )  # fmt: skip
    # The caller's own object becomes the logged one, as it does with a server.
    artifact.__class__ = DisabledArtifact
    artifact._version, artifact._settings, artifact._aliases = version, settings, _labels(names)
    return artifact


def _labels(names: Iterable[str]) -> Labels:
    return Labels(names, check=lambda name: name, stored=names)


def _texts(names: Any) -> list[str]:
    """What is text of a name or a list of names."""
    if isinstance(names, str):
        return [names]
    return [name for name in names if isinstance(name, str)] if isinstance(names, Iterable) else []


def _name_of(text: Any) -> str:
    """The name in a reference; `disabled` where there is none that an artifact can have."""
    try:
        return refs.artifact_name(refs.parse(text).name)
    except (AttributeError, TypeError, ValueError):
        return "disabled"


def _made(folder: Path) -> Path:
    """The folder, made where that is possible."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _scratch() -> Path:
    """A folder of this process, deleted when it ends; where none can be made, a path that is not there."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="modelyard-disabled-"))
    except OSError:
        return Path(os.path.abspath("modelyard-disabled"))
    atexit.register(_remove, folder, os.getpid())
    return folder


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # a forked process is not the one that made it
        shutil.rmtree(folder, ignore_errors=True)
