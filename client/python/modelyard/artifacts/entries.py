"""A file or a reference of a logged artifact, as users hold it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.arguments import checked_calls

if TYPE_CHECKING:
    from modelyard.artifacts.logged import LoggedArtifact
    from modelyard.rpc.records import FileEntry


@checked_calls()
class ArtifactEntry:
    """What `artifact.manifest.entries` and `get_entry` hold of a logged version.

    `size` is in bytes, None for a reference of unknown size; `digest` is 64 hex
    for a file and the recorded tag for a reference; `ref` is a reference's URI,
    None for a file.
    """

    def __init__(self, artifact: LoggedArtifact, content: FileEntry) -> None:
        self._artifact = artifact
        self._content = content

    path = property(lambda self: self._content.path, doc="Its path in the artifact.")
    name = property(lambda self: self._content.path, doc="Same as `path`.")
    size = property(lambda self: self._content.size, doc="Bytes; None: not known.")
    ref = property(lambda self: self._content.uri or None, doc="URI of a reference; None for a file.")
    local_path = property(lambda self: None, doc="None: where it is comes from `download`.")

    @property
    def digest(self) -> str:
        """File digest, 64 lower-case hex; of a reference its recorded tag, else its URI."""
        content = self._content
        return (content.tag or content.uri) if content.uri else content.digest.hex()

    def download(self, root: str | os.PathLike[str] | None = None, skip_cache: bool | None = None) -> str:
        """Downloads this file alone and returns its path, absolute.

        It goes to its own path below `root`; default as in `Artifact.download`.
        """
        return str(Path(self._artifact._download(root, skip_cache=skip_cache, only=self.path), self.path))

    def ref_target(self) -> str:
        """The URI it points at. ValueError for a file."""
        if not self._content.uri:
            raise ValueError(f"{self.path!r} is a file, not a reference")
        return self._content.uri

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArtifactEntry) and self._content == other._content

    def __hash__(self) -> int:
        return hash((self.path, self.digest))

    def __repr__(self) -> str:
        return f"<ArtifactEntry {self.path!r} of {self._artifact.name}>"
