"""Lists of aliases and tags that record how they differ from the server's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, SupportsIndex


class NameList(list[str]):
    """A list of distinct names, each checked when it is put in.

    It keeps the names that the server has, so that `added` and `removed` tell
    what to send. Errors: ValueError for a text that is no valid name.
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
        """Names that the server does not have."""
        return [name for name in self if name not in self._stored]

    @property
    def removed(self) -> list[str]:
        """Names that the server has and this list does not, sorted."""
        return sorted(self._stored.difference(self))

    def applied_to(self, names: Iterable[str]) -> list[str]:
        """Other names, with the added ones and without the removed ones."""
        removed = self.removed
        return list(dict.fromkeys([*(name for name in names if name not in removed), *self.added]))

    def replaced(self, names: Iterable[str]) -> NameList:
        """A list of other names, compared with the same names of the server."""
        return NameList(names, check=self._check, stored=self._stored)

    def _checked(self, name: str) -> str:
        if not isinstance(name, str):
            raise TypeError(f"a name is a str, not {type(name).__name__}")
        # The server's own names, such as `latest`, need not pass the check for new ones.
        return name if name in self._stored else self._check(name)

    def append(self, name: str, /) -> None:
        """Adds a name at the end, unless it is in the list."""
        self.insert(len(self), name)

    def insert(self, index: SupportsIndex, name: str, /) -> None:
        """Adds a name before `index`, unless it is in the list."""
        if self._checked(name) not in self:
            super().insert(index, name)

    def extend(self, names: Iterable[str], /) -> None:
        """Adds those names at the end that are not in the list."""
        for name in [self._checked(name) for name in _as_names(names)]:
            self.append(name)

    def __iadd__(self, names: Iterable[str], /) -> NameList:  # type: ignore[misc,override]  # keeps its type
        self.extend(names)
        return self

    def __setitem__(self, index: Any, names: Any, /) -> None:
        wanted = list(self)
        wanted[index] = names
        fresh = self.replaced(wanted)
        super().__setitem__(slice(None), fresh)

    def __reduce__(self) -> Any:
        # A copy or a pickle of the list alone has nothing to be saved to: a plain list.
        return list, (list(self),)


class _Packed(NamedTuple):
    """A NameList inside the pickled state of the object that holds it."""

    names: list[str]
    stored: list[str]
    check: Callable[[str], str]


def packed(state: Mapping[str, Any]) -> dict[str, Any]:
    """An object's attributes for `__getstate__`: its NameLists stay NameLists in a copy of the object."""
    return {
        key: _Packed(list(item), sorted(item._stored), item._check) if isinstance(item, NameList) else item
        for key, item in state.items()
    }


def unpacked(state: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that `packed` was given, for `__setstate__`."""
    return {
        key: NameList(item.names, check=item.check, stored=item.stored) if isinstance(item, _Packed) else item
        for key, item in state.items()
    }


def _as_names(names: Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
