"""What differs between two versions: files, metadata, and results of the runs that made them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from modelyard.contract.values import identical, to_json
from modelyard.host.terminal import human_bytes, plural

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_SIGNS = {ADDED: "+", REMOVED: "-", CHANGED: "~"}
_ABSENT: Any = object()


@dataclass(frozen=True)
class FileChange:
    """A path that differs; `kind` is `added`, `removed` or `changed`.

    Sizes are in bytes, None where there is no file or the size of a reference is not known. Digests are
    64 hex, empty for references. `shared_bytes` are those of the version's file in chunks that some file
    of the base has too; None if the file was removed, for a reference, or if they were not counted.
    """

    path: str
    kind: str
    size: int | None = None
    base_size: int | None = None
    digest: str = ""
    base_digest: str = ""
    reference: str = ""
    base_reference: str = ""
    shared_bytes: int | None = None


@dataclass(frozen=True)
class ValueChange:
    """A key of metadata or a metric that differs; `kind` is `added`, `removed` or `changed`.

    `value` and `base_value` are None where the key is missing.
    """

    key: str
    kind: str
    value: Any
    base_value: Any


@dataclass(frozen=True)
class Comparison:
    """A version compared with a base: what was added, removed and changed since the base.

    `unchanged_count` and `unchanged_bytes` are of the paths that both have alike, `size_bytes` is of the
    whole version. Of these, `shared_bytes` lie in chunks that the base has too: what somebody who has the
    base does not download. It is None where the versions have too many chunks to be counted.
    `metrics` has the numbers in the summaries of the runs that made the versions.
    `print(comparison)` shows all of it.
    """

    ref: str
    base_ref: str
    files: tuple[FileChange, ...]
    unchanged_count: int
    unchanged_bytes: int
    size_bytes: int
    shared_bytes: int | None
    metadata: tuple[ValueChange, ...]
    metrics: tuple[ValueChange, ...]

    @cached_property
    def added(self) -> list[FileChange]:
        """The files that only the version has, by path."""
        return self._of(ADDED)

    @cached_property
    def removed(self) -> list[FileChange]:
        """The files that only the base has, by path."""
        return self._of(REMOVED)

    @cached_property
    def changed(self) -> list[FileChange]:
        """The files that both have with different content, by path."""
        return self._of(CHANGED)

    def _of(self, kind: str) -> list[FileChange]:
        return [file for file in self.files if file.kind == kind]

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.files or self.metadata or self.metrics)

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_json(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {
            "ref": self.ref,
            "base_ref": self.base_ref,
            "files": [vars(file) for file in self.files],
            "unchanged_count": self.unchanged_count,
            "unchanged_bytes": self.unchanged_bytes,
            "size_bytes": self.size_bytes,
            "shared_bytes": self.shared_bytes,
            "metadata": [_plain(change) for change in self.metadata],
            "metrics": [_plain(change) for change in self.metrics],
        }


def value_changes(values: Mapping[str, Any], base: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """The keys whose values differ, by key; those of maps in maps have dotted names."""
    new, old = dict(_leaves(values)), dict(_leaves(base))
    return tuple(
        ValueChange(key, _kind(key in new, key in old), new.get(key), old.get(key))
        for key in sorted(new.keys() | old.keys())
        if not identical(new.get(key, _ABSENT), old.get(key, _ABSENT))
    )


def numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a run's summary, without those that the SDK adds (`_step`, `_runtime`)."""
    own = {key: value for key, value in summary.items() if not key.startswith("_")}
    return {
        key: value
        for key, value in _leaves(own)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of maps in maps; an empty map, and one that stands for media, is a value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value and "_type" not in value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _kind(is_new: bool, is_old: bool) -> str:
    return CHANGED if is_new and is_old else ADDED if is_new else REMOVED


def _plain(change: ValueChange) -> dict[str, Any]:
    return {name: to_json(value) for name, value in vars(change).items()}


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"{comparison.base_ref} → {comparison.ref}"
    kinds = [(comparison.added, ADDED), (comparison.removed, REMOVED), (comparison.changed, CHANGED)]
    counts = [f"{len(files):,} {kind}" for files, kind in kinds if files]
    yield f"files: {', '.join([*counts, f'{comparison.unchanged_count:,} unchanged'])}"
    yield from _table([_file_cells(file) for file in comparison.files])
    if comparison.shared_bytes is not None and comparison.size_bytes:
        shared, size = human_bytes(comparison.shared_bytes), human_bytes(comparison.size_bytes)
        yield f"shared with the base: {shared} of {size}"
    for title, changes in (("metadata", comparison.metadata), ("metrics", comparison.metrics)):
        if changes:
            yield f"{title}: {plural(len(changes), 'difference')}"
            yield from _table([_value_cells(change) for change in changes])


def _file_cells(file: FileChange) -> list[str]:
    sizes = [human_bytes(size) for size in (file.base_size, file.size) if size is not None]
    new = ""
    if file.kind == CHANGED and file.shared_bytes is not None and file.size is not None:
        new = f"{human_bytes(file.size - file.shared_bytes)} new"
    return [f"  {_SIGNS[file.kind]} {file.path}", " → ".join(sizes), new]


def _value_cells(change: ValueChange) -> list[str]:
    values = {REMOVED: [change.base_value], ADDED: [change.value]}
    shown = values.get(change.kind, [change.base_value, change.value])
    return [f"  {_SIGNS[change.kind]} {change.key}", " → ".join(map(_text, shown))]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", " ")


def _table(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
