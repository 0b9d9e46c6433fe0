"""What a collector has done: counts and bytes, by kind."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard_server.observability import telemetry

KINDS = {
    "files": "files that nothing referred to",
    "chunks": "chunks that nothing referred to",
    "trash": "packs put into the trash",
    "packs": "packs deleted from the store",
    "strays": "objects without a pack deleted from the store",
    "moved": "chunks moved out of mostly dead packs",
}
"""The kinds, in the order in which they are shown."""


class Totals:
    """Counts and bytes by kind; kinds that did not occur are left out."""

    def __init__(self) -> None:
        self.waiting = 0
        """Bytes that are left in the trash, or will be; set at the end of a collection."""
        self._done: dict[str, tuple[int, int]] = {}

    def add(self, kind: str, count: int, size: int) -> None:
        """Adds a number of things, and their bytes."""
        if not count:
            return
        before = self._done.get(kind, (0, 0))
        self._done[kind] = (before[0] + count, before[1] + size)
        telemetry.COLLECTED.add(count, kind)
        telemetry.COLLECTED_BYTES.add(size, kind)

    def get(self, kind: str) -> tuple[int, int]:
        """The number of things of a kind, and their bytes."""
        return self._done.get(kind, (0, 0))

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Kind, count and bytes of what occurred."""
        return iter([(kind, *self._done[kind]) for kind in KINDS if kind in self._done])

    def __bool__(self) -> bool:
        return bool(self._done)

    def __str__(self) -> str:
        return ", ".join(f"{count} {KINDS[kind]} ({size} bytes)" for kind, count, size in self)
