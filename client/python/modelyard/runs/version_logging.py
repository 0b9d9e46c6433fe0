"""Makes versions for a run: at once, or in the background where sending takes longer than a copy."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelyard.artifacts import cached_use
from modelyard.artifacts.handles import Workspace
from modelyard.contract import errors, refs
from modelyard.host import terminal
from modelyard.host.local_files import LocalFile
from modelyard.rpc import collection_calls, messages, records, version_calls
from modelyard.rpc.retry import is_retryable
from modelyard.spool import pending_versions
from modelyard.spool.folders import RunFolder
from modelyard.sync import artifact_calls
from modelyard.sync.artifact_calls import Made
from modelyard.sync.background_uploads import BackgroundUploads, Upload
from modelyard.sync.sender import warn_away
from modelyard.transfer import transfer
from modelyard.v1 import server_pb2

FOREGROUND_BYTES = 1 << 20
"""Content up to this size is sent at once: a copy, and a thread to send it, would cost as much."""
FREE_BYTES = 1 << 30
"""Copies that would leave less free space on the disk are not made."""
REMEMBERED_FILES = 10_000
"""Of more files in a version, the upload index learns nothing: their states would have to be kept."""
ANSWER_SECONDS = 5.0
"""How long to wait for a server's answer before it counts as away, and for how long an answer counts."""
AWAY_SECONDS = 0.5
"""How long to wait for the answer of a server that was away when it was last asked."""


@dataclass(frozen=True)
class Content:
    """A version to make. `incremental`: it keeps the files of the newest version of its name.

    `is_model`: a name that has another type with "model" in it keeps that.
    """

    header: transfer.NewVersion
    files: Sequence[LocalFile]
    references: Sequence[records.FileEntry] = ()
    incremental: bool = False
    is_model: bool = False


class VersionLogger:
    """Makes the versions of one run; in the background only where `allow_background` was called.

    In the background goes what is larger than `FOREGROUND_BYTES`, unless the server has it
    already; what is logged while an earlier version of its name waits; and everything
    while the server is away. The files are copied first, unless the disk lacks the room:
    then they are sent at once.
    """

    def __init__(self, workspace: Workspace, run: records.RunRecord) -> None:
        self.logged = 0
        """Number of new versions."""
        self.unchanged = 0
        """Number of logged versions whose content existed already."""
        self.linked = 0
        self.uploads: BackgroundUploads | None = None
        self._workspace = workspace
        self._connection = workspace.connection
        self._run = run
        self._counting = threading.Lock()
        self._answered = -math.inf
        self._is_away = False

    def allow_background(self, folder: RunFolder) -> None:
        """Lets uploads go on in the background, with copies of their files in the run's folder."""
        self.uploads = BackgroundUploads(
            self._connection, self._run, folder, cache=lambda: self._workspace.cache, made=self.count
        )

    def log(self, content: Content, *, at_once: bool = False) -> records.Version | Upload:
        """Makes the version; returns it, or its upload in the background.

        `at_once`: in the background only where the server is away. Errors: what the
        server refuses, LocalFileError, and CommError where nothing can be copied while it is away.
        """
        request_id = uuid.uuid4().hex
        uploads = self.uploads if self.uploads is not None and self.uploads.is_own else None
        try:
            if uploads is not None:
                made = self._log_safely(uploads, content, request_id, at_once)
                if made is not None:
                    return made
            content = self._resolved(content)
            return self.counted(
                *transfer.upload(
                    self._connection,
                    content.header,
                    content.files,
                    references=content.references,
                    cache=self._workspace.cache,
                    request_id=request_id,
                )
            )
        except errors.CommError as error:
            kept = self._keep(uploads, content, request_id) if uploads and is_retryable(error) else None
            if kept is None:
                raise
            return kept

    def link(self, version_id: str, target: str, aliases: Sequence[str]) -> records.Link | None:
        """Links a version; records the link and returns None where the server is away."""
        request_id = uuid.uuid4().hex
        ref = refs.link_target(target, self._run.entity)
        try:
            link = version_calls.link(self._connection, version_id, ref, aliases, request_id=request_id)
        except errors.CommError as error:
            if self.uploads is None or not self.uploads.is_own or not is_retryable(error):
                raise
            call = artifact_calls.link_call(request_id, target, aliases, version_id=version_id)
            try:
                self.uploads.add(call)
            except OSError:  # the disk takes nothing either
                raise error from None
            return None
        self.count_link()
        return link

    def link_later(self, upload: Upload, target: str, aliases: Sequence[str]) -> None:
        """Records the link of a version that waits to be sent."""
        assert self.uploads is not None
        logged = upload.content["request_id"]
        self.uploads.add(artifact_calls.link_call(uuid.uuid4().hex, target, aliases, logged=logged))

    def count(self, content: Mapping[str, Any], made: Made | None) -> None:
        """Counts a call that was made in the background."""
        with self._counting:
            if made is not None:
                self.logged += made.created
                self.unchanged += not made.created
            elif content["call"] == artifact_calls.LINK:
                self.linked += 1

    def count_link(self) -> None:
        """Counts a link that was made."""
        with self._counting:
            self.linked += 1

    def counted(self, message: Any, created: bool) -> records.Version:
        """The version that an upload returned, counted for the lines that end the run."""
        made = Made(messages.version(message), created)
        self.count({}, made)
        return made.version

    def _log_safely(
        self, uploads: BackgroundUploads, content: Content, request_id: str, at_once: bool
    ) -> records.Version | Upload | None:
        """Has the version made in the background; None where it is to be sent at once.

        Returns a version where the server had all of its content already.
        """
        if not self._is_reachable(uploads):
            return self._keep(uploads, content, request_id)
        if not at_once and pending_versions.is_pending(self._connection.address, self._ref(content)):
            kept = self._log_behind(uploads, content, request_id)
            if kept is not None:
                return kept
        pending_versions.wait_for(self._connection.address, self._ref(content))
        if at_once or _size(content.files) <= FOREGROUND_BYTES:
            return None
        content = self._resolved(content)
        begun = self._begin(content, request_id)
        if begun.made is not None:
            return self.counted(*begun.made)
        return self._keep(uploads, content, request_id, begun)

    def _log_behind(self, uploads: BackgroundUploads, content: Content, request_id: str) -> Upload | None:
        """Has a version sent after those of its name that wait; None where its files cannot be copied."""
        content = self._typed_as_pending(uploads, content)
        return self._keep(uploads, content, request_id, self._begin(content, request_id, makes=False))

    def _begin(self, content: Content, request_id: str, *, makes: bool = True) -> transfer.Begun:
        return transfer.begin(
            self._connection,
            content.header,
            content.files,
            content.references,
            request_id=request_id,
            cache=self._workspace.cache,
            makes=makes,
        )

    def _ref(self, content: Content) -> str:
        return f"{self._run.entity}/{self._run.project}/{content.header.name}"

    def _typed_as_pending(self, uploads: BackgroundUploads, content: Content) -> Content:
        """The content with the type of the version of its name that waits.

        Errors: those that the server would raise if it had that version.
        """
        header, pending = content.header, uploads.type_of(content.header.name)
        if pending is None:
            return content
        if content.is_model:
            return replace(content, header=replace(header, type=model_type(header.name, pending)))
        if header.type != pending:
            raise errors.TypeMismatch(
                f"{header.name!r} has the type {pending!r}, which never changes; it cannot be {header.type!r}"
            )
        return content

    def _is_reachable(self, uploads: BackgroundUploads) -> bool:
        """Whether the server answers, or did a moment ago; a warning says, once, when it does not."""
        seconds = AWAY_SECONDS if self._is_away else ANSWER_SECONDS
        self._is_away = uploads.last_error is not None or not self._answers(seconds)
        if self._is_away:
            server = self._connection.describe()
            warn_away(errors.ServerStopping(f"the modelyard server at {server} cannot be reached"))
        return not self._is_away

    def _answers(self, seconds: float) -> bool:
        if not cached_use.is_reachable(self._connection, seconds):
            return False
        if time.monotonic() - self._answered < ANSWER_SECONDS:
            return True
        try:
            self._connection.server.GetServerInfo(server_pb2.GetServerInfoRequest(), timeout=seconds)
        except errors.CommError as error:
            if is_retryable(error):
                return False  # else the next call says what it refuses
        self._answered = time.monotonic()
        return True

    def _resolved(self, content: Content) -> Content:
        """The content with what depends on the versions that its name has: type and base version.

        Errors: AssertionError for a model under a name that holds something else.
        """
        header, ref = content.header, self._ref(content)
        if content.is_model:
            known = collection_calls.find_artifact(self._connection, ref)
            header = replace(header, type=model_type(header.name, known.type if known else header.type))
        if content.incremental and not header.base_version_id:
            newest = version_calls.find_version(self._connection, f"{ref}:{refs.LATEST}")
            header = replace(header, base_version_id=newest.id if newest else "")
        return replace(content, header=header, incremental=False)

    def _keep(
        self,
        uploads: BackgroundUploads,
        content: Content,
        request_id: str,
        begun: transfer.Begun | None = None,
    ) -> Upload | None:
        """Copies the files and has them sent later; None where they cannot be copied.

        Errors: LocalFileError for a file that cannot be read or changes meanwhile.
        """
        stage = uploads.stage(request_id)
        call = artifact_calls.log_call(
            request_id, content.header, incremental=content.incremental, is_model=content.is_model
        )
        references = artifact_calls.staged_references(content.references)
        if begun is not None and len(content.files) > REMEMBERED_FILES:
            begun = replace(begun, sources=())
        try:
            stage.copy(content.files, references, margin=FREE_BYTES)
            return uploads.add(call, size=_size(content.files), begun=begun)
        except errors.LocalFileError:
            raise
        except OSError as error:
            stage.remove()
            terminal.termlog(
                f"{content.header.name} is sent at once, since its files cannot be copied to "
                f"{uploads.folder.path}: {error}",
                repeat=False,
            )
            return None


def model_type(name: str, type_name: str) -> str:
    """The type of a name's models. AssertionError for one without "model" in it, as W&B raises."""
    if "model" not in type_name:
        raise AssertionError(
            f"{name!r} holds artifacts of type {type_name!r}: log_model needs a type that contains 'model'"
        )
    return type_name


def _size(files: Sequence[LocalFile]) -> int:
    """The sum of the files' sizes; those that cannot be found are left to whoever reads them."""
    return sum(Path(file.source).stat().st_size for file in files if Path(file.source).exists())
