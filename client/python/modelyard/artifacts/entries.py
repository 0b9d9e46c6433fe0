"""A file or a reference of a logged version, as users get it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from modelyard.arguments import checked_calls
from modelyard.contract.chunking import chunk_digest

if TYPE_CHECKING:
    from modelyard.rpc.records import FileEntry


class Owner(Protocol):
    """The version that an entry belongs to."""

    @property
    def name(self) -> str:
        """`name:vN`."""

    def download(
        self, root: str | os.PathLike[str] | None, *, skip_cache: bool | None = None, only: str = ""
    ) -> str:
        """Downloads the entry at the path `only`; returns the folder."""


@checked_calls()
class ArtifactEntry:
    """An item of `artifact.manifest.entries`, and what `get_entry` returns for a logged version.

    `size` is in bytes, None for a reference of unknown size; `digest` is 64 hex
    for a file and the recorded tag for a reference; `ref` is a reference's URI,
    None for a file.
    """

    def __init__(self, owner: Owner, content: FileEntry) -> None:
        self._owner = owner
        self._content = content

    path = property(lambda self: self._content.path, doc="Its path in the artifact.")
    name = property(lambda self: self._content.path, doc="Same as `path`.")
    size = property(lambda self: self._content.size, doc="Bytes; None: not known.")
    ref = property(lambda self: self._content.uri or None, doc="URI of a reference; None for a file.")
    local_path = property(lambda self: None, doc="None; `download` returns where the file is.")

    @property
    def digest(self) -> str:
        """File digest, 64 lower-case hex; of a reference its recorded tag, else its URI."""
        content = self._content
        return (content.tag or content.uri) if content.uri else content.digest.hex()

    @property
    def sha256(self) -> str | None:
        """Plain SHA-256 of the file, as `sha256sum` prints it; None where it was not known when it was read.

        `Artifact.sha256sums` has the server make those that are missing.
        """
        return self._content.sha256 or None

    def download(self, root: str | os.PathLike[str] | None = None, skip_cache: bool | None = None) -> str:
        """Downloads this file alone and returns its path, absolute.

        It is put at its own path below `root`; default as in `Artifact.download`.
        """
        return str(Path(self._owner.download(root, skip_cache=skip_cache, only=self.path), self.path))

    def ref_target(self) -> str:
        """The URI it points at. ValueError for a file."""
        if not self._content.uri:
            raise ValueError(f"{self.path!r} is a file, not a reference")
        return self._content.uri

    @property
    def _reference(self) -> FileEntry | None:
        """The reference that it is; None for a file."""
        return self._content if self._content.uri else None

    def _has_content_of(self, path: Path) -> bool:
        """Whether a local file has the content of this file."""
        return not self._content.uri and has_content(path, self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArtifactEntry) and self._content == other._content

    def __hash__(self) -> int:
        return hash((self.path, self.digest))

    def __repr__(self) -> str:
        return f"<ArtifactEntry {self.path!r} of {self._owner.name}>"


def has_content(path: Path, entry: FileEntry) -> bool:
    """Whether a local file has the content of an entry; it is compared chunk by chunk."""
    if path.stat().st_size != entry.size:
        return False
    with open(path, "rb") as file:
        return all(chunk_digest(file.read(chunk.size)) == chunk.digest for chunk in entry.chunks)
