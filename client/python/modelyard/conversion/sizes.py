"""How many bytes plain values take on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NUMBER_BYTES = 11
_HEADER_BYTES = 8
"""Of a text, a list, a map or an entry: a few bytes at least, and lengths."""


def size_of(value: Any) -> int:
    """An upper bound of the size of a plain value as an `AnyValue`, in bytes."""
    total = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            total += _text_bytes(item)
        elif isinstance(item, Mapping):
            total += _HEADER_BYTES + sum(_text_bytes(key) for key in item)
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            total += _HEADER_BYTES
            if all(type(inner) is float or type(inner) is int for inner in item):
                total += _NUMBER_BYTES * len(item)
            else:
                pending.extend(item)
        else:
            total += _NUMBER_BYTES
    return total


def _text_bytes(text: str) -> int:
    return (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + _HEADER_BYTES
