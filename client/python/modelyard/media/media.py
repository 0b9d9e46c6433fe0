"""`Media`: the interface of all values that are kept as files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from modelyard.media.content import Content, Place


class Source(Protocol):
    """Where stored values are read from: a run or an artifact."""

    def fetch(self, path: str) -> Path:
        """The local copy of a file. Errors: NotFound, OSError."""

    def prefetch(self, paths: Collection[str]) -> None:
        """Makes local copies of many files."""

    def paths(self, prefix: str) -> Collection[str]:
        """The paths of its files that begin so."""

    def restored(self, value: Any) -> Any:
        """A value with media instead of the maps that stand for them, at all levels."""


class Media(ABC):
    """A value that is kept as files. All but tables are fixed when they are made."""

    type_name: ClassVar[str]
    """`_type` of the map that rows have instead of it."""

    @abstractmethod
    def store(self, place: Place) -> dict[str, Any]:
        """Puts its files into a place, and returns the map that stands for it. Errors: OSError."""

    @classmethod
    @abstractmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> Media:
        """The value that a map of `store` stands for. Errors: those of `source`, KeyError."""

    @classmethod
    def store_list(cls, items: Sequence[Any], place: Place) -> Any:
        """Stores a list of values of this class."""
        return [item.store(place) for item in items]


class FileMedia(Media):
    """Media of one file, with a caption."""

    folder: ClassVar[str]
    """Folder of its files, below `media`."""
    list_type: ClassVar[str] = ""
    """`_type` of a list of them; empty: a list stays a list."""
    list_key: ClassVar[str] = ""
    """Key of the items in the map of a list."""

    def __init__(self, content: Content, caption: str | None = None) -> None:
        self.content = content
        self.caption = caption

    def details(self) -> dict[str, Any]:
        """Further entries of its map."""
        return {}

    def store(self, place: Place) -> dict[str, Any]:
        """Puts its file into a place, and returns the map that stands for it."""
        stored: dict[str, Any] = {"_type": self.type_name, **place.put(self.content, self.folder).facts()}
        if self.caption:
            stored["caption"] = self.caption
        return stored | self.details()

    @classmethod
    def load(cls, stored: Mapping[str, Any], source: Source) -> FileMedia:
        """The value of a file that was stored."""
        found = cls.__new__(cls)
        path = source.fetch(stored["path"])
        FileMedia.__init__(found, Content(stored_suffix(stored["path"]), path), stored.get("caption"))
        found.restore(stored)
        return found

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Takes what `details` wrote."""

    @classmethod
    def store_list(cls, items: Sequence[Any], place: Place) -> Any:
        """Stores a list as one map, with captions if there are any."""
        found = [item.store(place) for item in items]
        if not cls.list_type:
            return found
        stored: dict[str, Any] = {"_type": cls.list_type, "count": len(found), cls.list_key: found}
        if any(item.caption for item in items):
            stored["captions"] = [item.caption for item in items]
        return stored

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{f' {self.caption!r}' if self.caption else ''}>"


def stored_suffix(path: str) -> str:
    """The ending of a stored file's name, all dots of it: `.pts.json` of `media/object3D/<name>.pts.json`."""
    name = path.rpartition("/")[2]
    hashed = name.rpartition("_")[2]  # of the key only the hash and the ending are left
    return "." + hashed.partition(".")[2] if "." in hashed else ""
