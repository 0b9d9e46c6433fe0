"""Names of files from keys of rows, safe on every system."""

from __future__ import annotations

PARTS = 16
PART_BYTES = 80
"""Of a key only so many parts and bytes of a part are in the name; the hash behind them tells files apart."""
_UNSAFE = frozenset('\\:*?"<>|')


def stem_of(key: str) -> str:
    """A key as the start of a path: `/` makes folders; `..`, empty parts and unsafe characters become `_`."""
    *folders, last = [safe_part(part) for part in key.split("/")]
    return "/".join([*folders[: PARTS - 1], last])


def safe_part(part: str) -> str:
    """A name of a file or a folder, or the ending of one, without characters that some system refuses."""
    safe = "".join("_" if char in _UNSAFE or not char.isprintable() else char for char in part)
    if not safe.strip(". "):
        return "_"
    return safe.encode("utf-8", "replace")[:PART_BYTES].decode("utf-8", "ignore")
