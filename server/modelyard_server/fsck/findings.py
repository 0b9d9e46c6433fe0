"""What a check can find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DAMAGE = {
    "database_corrupt": "SQLite's own check of the file failed",
    "reference_broken": "a row refers to one that does not exist",
    "version_incomplete": "the entries of a version do not have its digest, count or size",
    "entry_wrong": "a file that is referred to is not whole, of another entity, or of another size",
    "file_broken": "the chunks of a file do not add up to it, or do not hash to its digest",
    "chunk_quarantined": "bytes of files are lost or wrong, and marked so: log their content again",
    "chunk_misplaced": "a chunk overlaps another one, lies outside its pack, or in one of another entity",
    "chunk_corrupt": "stored bytes do not have the digest of their chunk",
    "pack_not_live": "chunks are in a pack that is not live",
    "pack_missing": "the store does not have a live pack",
    "pack_short": "a live pack is shorter in the store than it was written",
    "pack_long": "a live pack is longer in the store than it was written",
    "number_repeated": "several versions of a collection have one number",
    "number_ahead": "a number is not below the counter of its collection, which will give it out again",
    "owner_wrong": "a row names another project or entity than the collection it belongs to",
    "collection_wrong": "a version or link is in a collection of the wrong kind, or in a deleted one",
    "link_broken": "a link points at a deleted version",
    "alias_wrong": "an alias points at a deleted version, or at one of another collection",
    "event_gap": "the events of a project are not numbered 1, 2, 3, … up to its counter",
    "history_differs": "the events say something else than the rows",
    "metrics_broken": "stored metrics cannot be decoded, or do not add up",
    "console_broken": "stored lines of a console cannot be decoded, or do not add up",
}
"""Kinds of damage: a promise is broken, or will be."""

NOTES = {
    "entries_left": "a deleted version still has entries, which keep its bytes",
    "object_unknown": "the store has an object that no row knows: unused space",
    "object_left": "the store still has a pack that was given up: unused space",
}
"""Kinds of findings that only cost space."""


class VersionName(NamedTuple):
    """A version that a finding touches."""

    id: str
    ref: str


class RunFileName(NamedTuple):
    """A file of a run that a finding touches."""

    run: str
    attempt: int
    path: str


@dataclass(frozen=True)
class Touched:
    """Whose content a finding touches: the first hundred of each, and how many there are."""

    versions: Sequence[VersionName] = ()
    version_count: int = 0
    run_files: Sequence[RunFileName] = ()
    run_file_count: int = 0


class Lost(NamedTuple):
    """A pack of which the store has the first `remaining` bytes."""

    pack_id: str
    remaining: int


class Corrupt(NamedTuple):
    """A chunk whose bytes in a pack are wrong."""

    chunk_id: int
    pack_id: str


@dataclass(frozen=True)
class Finding:
    """One damage or note. `about` names the rows or the object, `loss` what can be quarantined."""

    kind: str
    message: str
    about: Mapping[str, str | int]
    touched: Touched = Touched()
    loss: Lost | Corrupt | None = field(default=None, compare=False)
    quarantined: int | None = None
    """How many chunks were quarantined; None if that was not asked for."""

    @property
    def is_damage(self) -> bool:
        """Whether it is more than unused space."""
        return self.kind in DAMAGE

    def as_json(self) -> dict[str, Any]:
        """The finding as it is in reports."""
        shown: dict[str, Any] = {
            "kind": self.kind,
            "severity": "damage" if self.is_damage else "note",
            "message": self.message,
            "about": dict(self.about),
            "versions": [version._asdict() for version in self.touched.versions],
            "version_count": self.touched.version_count,
            "run_files": [file._asdict() for file in self.touched.run_files],
            "run_file_count": self.touched.run_file_count,
        }
        if self.quarantined is not None:
            shown["quarantined_chunks"] = self.quarantined
        return shown
