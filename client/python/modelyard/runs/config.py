"""`Config`: the inputs of a run, each set once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelyard.artifacts.artifact import Artifact
from modelyard.contract.errors import ConfigError, UsageError
from modelyard.contract.limits import RUN_MAPS_BYTES, VALUE_ITEMS
from modelyard.contract.refs import ARTIFACT_SCHEME
from modelyard.contract.values import identical
from modelyard.conversion.config_sources import read
from modelyard.conversion.plain_values import fit_entry
from modelyard.conversion.sizes import size_of
from modelyard.host import terminal

ALL_BYTES = RUN_MAPS_BYTES - (1 << 20)
"""Of all entries on the wire; the rest is for summary and metadata."""
FIRST_BYTES, FIRST_ENTRY_BYTES = 256 << 10, 64 << 10
"""Of the entries that are sent when the run is made; the others follow, so that none can hinder `init`."""
_LEAVES = frozenset({int, float, str, bool, type(None)})
_SHOWN = 200
"""Number of characters of a value in an error message."""


Named = Artifact | str | dict[str, Any]
"""An artifact, or what names one in a config."""


def names_artifact(value: Any) -> bool:
    """Whether a value is `wandb-artifact://…`, or what a config stores of an artifact."""
    if isinstance(value, str):
        return value.startswith(ARTIFACT_SCHEME)
    return isinstance(value, dict) and value.get("_type") == "artifactVersion" and "id" in value


class ConfigStatic(Mapping[str, Any]):
    """The entries of a config as they were, by item and attribute. They cannot be changed."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_entries", dict(entries))

    def __getitem__(self, key: str) -> Any:
        entries: dict[str, Any] = self.__dict__["_entries"]
        return entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__["_entries"])

    def __len__(self) -> int:
        return len(self.__dict__["_entries"])

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_") or key not in self:
            raise AttributeError(f"the config has no {key!r}")
        return self[key]

    def _refuse(self, key: str, item: Any = None) -> None:
        raise AttributeError(f"{key}: run.config_static cannot be changed; run.config can")

    __setattr__ = __setitem__ = __delattr__ = __delitem__ = _refuse

    def __repr__(self) -> str:
        return repr(self.__dict__["_entries"])


class Config(Mapping[str, Any]):
    """Items and attributes: `config["lr"]`, `config.lr`.

    Changing a key that is set raises ConfigError unless `allow_val_change`, and
    UsageError once the run is finished. An entry that cannot be stored, and one for which
    the others leave no room, stays in this process, with a warning that names it.
    An Artifact as an entry is used by the run, and its reference is stored. So is a text
    `wandb-artifact://…`, and what the config of another run has in place of an artifact: the
    entry is the artifact then.
    """

    _items: dict[str, Any]
    _stored: _Stored
    _sent: set[str]
    _locked: dict[str, str]
    _changed: Callable[[str], None]
    _use: Callable[[Named], Artifact | None] | None
    _allow: bool
    _closed: str

    def __init__(self, items: Mapping[str, Any], *, allow_val_change: bool = False) -> None:
        state = {
            "_items": {},
            "_stored": _Stored(),
            "_sent": set(),  # keys that went to the server when the run was made
            "_locked": {},
            "_changed": lambda key: None,
            "_use": None,
            "_allow": allow_val_change,
            "_closed": "",
        }
        for name, value in state.items():  # not by our own __setattr__, which sets keys
            object.__setattr__(self, name, value)
        for key, item in items.items():
            self._set(key, item, True)

    def first_entries(self) -> dict[str, Any]:
        """The entries to send when the run is made: the smaller ones, up to 256 KiB."""
        left = FIRST_BYTES
        for key, size in self._stored.sizes.items():
            if size <= min(left, FIRST_ENTRY_BYTES):
                left -= size
                self._sent.add(key)
        return {key: item for key, item in self._stored.entries.items() if key in self._sent}

    def adopt(self, entries: Mapping[str, Any]) -> None:
        """Adds the entries that the run has on the server, where a key is not set here."""
        for key, item in entries.items():
            if key not in self._items:
                self._items[key] = item
                self._stored.keep(key, item)
                self._sent.add(key)

    def attach(self, changed: Callable[[str], None], use: Callable[[Named], Artifact | None]) -> None:
        """Calls `changed` with each key to send: those not sent when the run was made, and later changes.

        `use` records the use of an artifact that is an entry, or that one names. None: an entry
        that names one stays as it is.
        """
        object.__setattr__(self, "_changed", changed)
        object.__setattr__(self, "_use", use)
        for key, item in list(self._items.items()):
            if isinstance(item, Artifact) or (names_artifact(item) and key not in self._sent):
                self._keep(key, item, True)
            elif key in self._stored.entries and key not in self._sent:
                changed(key)

    def close(self, run: str) -> None:
        """Raises UsageError for every change from now on: the run of this name is finished."""
        object.__setattr__(self, "_closed", run)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)

    def __reduce__(self) -> tuple[Callable[..., Config], tuple[Any, ...]]:
        # A copy or a pickle has the values only; changes of it are not sent.
        return _detached, (dict(self._items), self._allow)

    def __setitem__(self, key: str, value: Any) -> None:
        self._set(key, value, self._allow)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._items[name]
        except KeyError:
            raise AttributeError(f"the config has no key {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def update(self, values: Any, allow_val_change: bool | None = None) -> None:
        """Sets the entries of a dict, a Namespace, a dataclass, or a YAML file."""
        allow = self._allow if allow_val_change is None else allow_val_change
        for key, value in read(values).items():
            self._set(key, value, allow)

    def update_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Sets entries and locks their keys: later changes by others are ignored with a warning.

        The warning names `user`, who may change the entries.
        """
        allow = self._allow if _allow_val_change is None else _allow_val_change
        for key, value in read(d).items():
            self._set(key, value, allow, user or "")
            self._locked.setdefault(key, user or "")

    def setdefaults(self, values: Any) -> None:
        """Sets the entries whose key is not set yet."""
        for key, value in read(values).items():
            if key not in self._items:
                self._set(key, value, False)

    def persist(self) -> None:
        """Sends every entry again."""
        self._check_open()
        for key in list(self._stored.entries):
            self._changed(key)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._items)

    def stored_value(self, key: str, default: Any) -> Any:
        """An entry as it is stored; the default for one that is not."""
        return self._stored.entries.get(key, default)

    def stored(self) -> dict[str, Any]:
        """A copy of those entries that are stored, as they are stored."""
        return dict(self._stored.entries)

    def _set(self, key: str, value: Any, allow: bool, user: str | None = None) -> None:
        self._check_open()
        key = str(key)
        if self._locked.get(key, user) != user:
            owner = f" by {self._locked[key]}" if self._locked[key] else ""
            terminal.termwarn(f"config {key!r} is locked{owner}: the change is ignored")
            return
        if isinstance(value, Artifact):
            new, fits = value, True
        else:
            _refuse_artifacts(value, key)
            new, fits = fit_entry("config", key, value)
        if key in self._items:
            if self._is_same(key, new, fits):
                return
            if not allow:
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {_short(self._items[key])} '
                    f"to {_short(new)}\n"
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
        self._keep(key, new, fits)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"run {self._closed} is finished: its config cannot be changed")

    def _is_same(self, key: str, new: Any, fits: bool) -> bool:
        old = self._items[key]
        if old is new:
            return True
        return identical(old, new) if fits and key in self._stored.entries else _equal(old, new)

    def _keep(self, key: str, new: Any, fits: bool) -> None:
        self._items[key] = new
        was_stored = self._stored.drop(key)
        if isinstance(new, Artifact) or names_artifact(new):
            if self._use is None:  # of a run that is not made yet: `attach` stores it
                return
            used = self._use(new)
            if used is not None:
                self._items[key], new = used, _reference(used)
        if (fits and self._stored.keep(key, new)) or was_stored:
            self._changed(key)


class _Stored:
    """The entries that are sent, with their sizes in bytes on the wire."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self._used = 0

    def keep(self, key: str, value: Any) -> bool:
        """Adds an entry, if there is room; else a warning names it."""
        size = size_of({key: value})
        if self._used + size > ALL_BYTES:
            terminal.warn_once(
                f"config {key}",
                f"config {key[:100]!r} is kept in this process only: it takes {terminal.human_bytes(size)} "
                f"and the other entries {terminal.human_bytes(self._used)}, which is more than "
                f"{terminal.human_bytes(ALL_BYTES)} together",
            )
            return False
        self.entries[key], self.sizes[key] = value, size
        self._used += size
        return True

    def drop(self, key: str) -> bool:
        """Removes an entry; whether there was one."""
        self._used -= self.sizes.pop(key, 0)
        return self.entries.pop(key, self) is not self


def _reference(used: Artifact) -> dict[str, Any]:
    """What is stored of an artifact."""
    return {
        "_type": "artifactVersion",
        "_version": "v0",
        "id": used.id,
        "version": used.source_version,
        "sequenceName": used.source_name.partition(":")[0],
        "usedAs": used.use_as,
    }


def _refuse_artifacts(value: Any, key: str) -> None:
    """ValueError for an artifact inside of another value."""
    seen: set[int] = set()
    pending = [value]
    while pending and len(seen) < VALUE_ITEMS:
        item = pending.pop()
        if isinstance(item, Artifact):
            raise ValueError(f"config {key!r}: an Artifact can only be an entry itself, not a part of one")
        if isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            inner = item.values() if isinstance(item, dict) else item
            pending.extend([part for part in inner if type(part) not in _LEAVES])


def _equal(old: Any, new: Any) -> bool:
    """Whether values that cannot be stored are equal; False when they cannot be compared."""
    try:
        return bool(old == new)
    except Exception:  # arrays, for example, have no truth value
        return False


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _detached(items: Mapping[str, Any], allow_val_change: bool) -> Config:
    return Config(items, allow_val_change=allow_val_change)
