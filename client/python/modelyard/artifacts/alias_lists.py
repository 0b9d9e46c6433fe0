"""Lists of aliases and tags that notice how they are changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex


class Labels(list[str]):
    """A list of distinct names that checks each one as it comes in, and knows what differs from the server.

    Errors: ValueError for a name that cannot be one, as soon as it is put in.
    """

    def __init__(
        self, names: Iterable[str] = (), *, check: Callable[[str], str], stored: Iterable[str] | None = None
    ) -> None:
        self._check = check
        given = _as_names(names)
        self._stored = frozenset(given if stored is None else stored)
        super().__init__()
        self.extend(given)

    @property
    def added(self) -> list[str]:
        """What was put in since the server's state."""
        return [name for name in self if name not in self._stored]

    @property
    def removed(self) -> list[str]:
        """What was taken out since the server's state."""
        return sorted(self._stored.difference(self))

    def replaced(self, names: Iterable[str]) -> Labels:
        """Other names in its place, compared with the same state of the server."""
        return Labels(names, check=self._check, stored=self._stored)

    def _known(self, name: str) -> str:
        if not isinstance(name, str):
            raise TypeError(f"a name is a str, not {type(name).__name__}")
        # What the server holds was checked there, `latest` and all.
        return name if name in self._stored else self._check(name)

    def append(self, name: str, /) -> None:
        """Puts a name at the end, unless it is there."""
        self.insert(len(self), name)

    def insert(self, index: SupportsIndex, name: str, /) -> None:
        """Puts a name in front of `index`, unless it is there."""
        if self._known(name) not in self:
            super().insert(index, name)

    def extend(self, names: Iterable[str], /) -> None:
        """Puts names at the end, those that are not there."""
        for name in [self._known(name) for name in _as_names(names)]:
            self.append(name)

    def __iadd__(self, names: Iterable[str], /) -> Labels:  # type: ignore[misc,override]  # stays a Labels
        self.extend(names)
        return self

    def __setitem__(self, index: Any, names: Any, /) -> None:
        wanted = list(self)
        wanted[index] = names
        fresh = self.replaced(wanted)
        super().__setitem__(slice(None), fresh)

    def state(self) -> tuple[list[str], list[str]]:
        """The names, and those of the server's state: what `Labels(names, stored=stored)` is made of."""
        return list(self), sorted(self._stored)

    def __reduce__(self) -> Any:
        # A copy or a pickle is read elsewhere, where nothing is saved: a plain list will do.
        return list, (list(self),)


def _as_names(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
