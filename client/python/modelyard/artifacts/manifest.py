"""`Manifest`: the files and references of an artifact, by path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from modelyard.artifacts.draft import Draft, DraftEntry
from modelyard.artifacts.entries import ArtifactEntry

Entry = ArtifactEntry | DraftEntry


class Manifest:
    """What `artifact.manifest` is: `entries` maps path → entry, `len` counts them.

    Of a draft it may be changed; of a logged version that raises ArtifactFinalizedError.
    """

    def __init__(self, entries: Callable[[], Mapping[str, Entry]], draft: Callable[[str], Draft]) -> None:
        self._entries = entries
        self._draft = draft

    @property
    def entries(self) -> Mapping[str, Entry]:
        """All entries by path, as they are now."""
        return self._entries()

    def __len__(self) -> int:
        return len(self._entries())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __contains__(self, path: object) -> bool:
        return path in self._entries()

    def size(self) -> int:
        """Sum of the sizes of all entries, in bytes."""
        return sum(entry.size or 0 for entry in self._entries().values())

    def add_entry(self, entry: Entry, overwrite: bool = False) -> None:
        """Adds an entry of another artifact at its path. ValueError when the path has other content."""
        self._draft("add_entry").add_entry(entry, entry.path, overwrite=overwrite)

    def remove_entry(self, entry: Entry) -> None:
        """Removes an entry. FileNotFoundError when there is none at its path."""
        self._draft("remove_entry").remove(entry.path)

    def get_entry_by_path(self, path: str) -> Entry | None:
        """The entry of a path; None when there is none."""
        return self._entries().get(path)

    def get_entries_in_directory(self, directory: str) -> list[Entry]:
        """The entries below a folder, at every depth."""
        below = directory.rstrip("/") + "/"
        return [entry for path, entry in self._entries().items() if path.startswith(below)]

    def __repr__(self) -> str:
        return f"<Manifest of {len(self)} entries>"
