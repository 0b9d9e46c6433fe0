"""A version that is on its way to the server, in place of the draft that was logged."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Protocol

from modelyard.artifacts.fields import VersionFields
from modelyard.artifacts.handles import Workspace
from modelyard.rpc import records

if TYPE_CHECKING:
    from modelyard.artifacts.server_version import ServerVersion


class Upload(Protocol):
    """What is sent in the background; see `sync.background_uploads`."""

    @property
    def is_committed(self) -> bool:
        """Whether the server has the version."""

    def wait(self, timeout: float | None = None, *, patient: bool = True) -> records.Version:
        """The version, once it is committed. Errors: WaitTimeoutError, and what refused it.

        Unless `patient`, also the CommError of a server that was away for a minute.
        """


class PendingVersion:
    """What an `Artifact` holds until its upload is committed. Its files are frozen already."""

    def __init__(self, workspace: Workspace, upload: Upload, fields: VersionFields) -> None:
        self._workspace = workspace
        self._upload = upload
        self._logged = copy.deepcopy(fields)

    @property
    def is_committed(self) -> bool:
        """Whether the server has the version."""
        return self._upload.is_committed

    def wait(self, timeout: float | None = None, *, patient: bool = True) -> ServerVersion:
        """The version, once it is committed. Errors: see `Upload.wait`."""
        from modelyard.artifacts.server_version import ServerVersion

        return ServerVersion(self._workspace, self._upload.wait(timeout, patient=patient))

    def carry_over(self, present: VersionFields, stored: VersionFields) -> None:
        """Makes the changes in `stored` that the program has made in `present` since it logged."""
        logged = self._logged
        if present.description != logged.description:
            stored.description = present.description
        if present.metadata != logged.metadata:
            stored.metadata = present.metadata
        if present.ttl != logged.ttl:
            stored.ttl = present.ttl
        for mine, before, theirs in (
            (present.aliases, logged.aliases, stored.aliases),
            (present.tags, logged.tags, stored.tags),
        ):
            theirs.extend([name for name in mine if name not in before and name not in theirs])
            for name in before:
                if name not in mine and name in theirs:
                    theirs.remove(name)
