"""Lazy lists of what the server has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from html import escape
from itertools import islice
from typing import Any, Generic, TypeVar, overload

from modelyard.contract.limits import PAGE_ITEMS

T = TypeVar("T")
S = TypeVar("S")

_SHOWN = 10
"""Items that a notebook shows."""


def page_size(size: int) -> int:
    """`size`, at most 1,000. ValueError below 1."""
    if size < 1:
        raise ValueError(f"per_page is at least 1, not {size}")
    return min(size, PAGE_ITEMS)


class Listing(Generic[T]):
    """A list whose items are fetched when they are first needed, and once only.

    A copy or a pickle fetches and holds all of them. `len` is what `count` returns;
    without it, it raises TypeError.
    """

    def __init__(self, items: Iterable[T], count: Callable[[], int] | None = None) -> None:
        self._items = iter(items)
        self._ask = count
        self._count: int | None = None
        self._found: list[T] = []
        self._next = 0

    def __getstate__(self) -> dict[str, Any]:
        # Items that were not needed yet are fetched now: the iterator cannot be copied.
        self._found.extend(self._items)
        return {**self.__dict__, "_items": iter(()), "_ask": None, "_count": len(self._found)}

    def __iter__(self) -> Iterator[T]:
        index = 0
        while self._load(index + 1):
            yield self._found[index]
            index += 1

    def __next__(self) -> T:
        if not self._load(self._next + 1):
            raise StopIteration
        self._next += 1
        return self._found[self._next - 1]

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        ends = (index.start, index.stop) if isinstance(index, slice) else (index, index)
        if any(end is not None and end < 0 for end in ends) or ends[1] is None:
            self._found.extend(self._items)
        else:
            self._load(ends[1] + 1)
        return self._found[index]

    def __len__(self) -> int:
        if self._count is None:
            if self._ask is None:
                raise TypeError("the server does not count what a search finds; len(list(…)) fetches all")
            self._count = self._ask()
        return self._count

    def __bool__(self) -> bool:
        return self._load(1)

    def _repr_html_(self) -> str:
        """As notebooks show it: its first items."""
        shown = [_html(item) for item in self[:_SHOWN]]
        return "".join(shown) + ("…" if self._load(_SHOWN + 1) else "") or "nothing found"

    def __repr__(self) -> str:
        first = ", ".join(map(repr, self[:3]))
        return f"[{first}, …]" if self._load(4) else f"[{first}]"

    def _load(self, count: int) -> bool:
        """Fetches up to `count` items; whether there are that many."""
        self._found.extend(islice(self._items, max(0, count - len(self._found))))
        return len(self._found) >= count


def _html(item: Any) -> str:
    """An item as a notebook shows it."""
    own = getattr(item, "_repr_html_", None)
    return str(own()) if callable(own) else f"<div>{escape(repr(item))}</div>"
