"""`Config`: the inputs of a run, each set once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelyard.contract.errors import ConfigError
from modelyard.contract.values import identical
from modelyard.rpc.plain_values import fit_entry

_SHOWN = 200
"""Number of characters of a value in an error message."""


class Config(Mapping[str, Any]):
    """Items and attributes: `config["lr"]`, `config.lr`.

    Changing a key that is set raises ConfigError unless `allow_val_change`.
    An entry that cannot be stored stays in this process, with a warning.
    """

    _items: dict[str, Any]
    _unfit: set[str]
    _changed: Callable[[str], None]
    _allow: bool

    def __init__(self, items: Mapping[str, Any], *, allow_val_change: bool = False) -> None:
        # Not by our own __setattr__, which sets keys.
        object.__setattr__(self, "_items", {})
        object.__setattr__(self, "_unfit", set())
        object.__setattr__(self, "_changed", lambda key: None)
        object.__setattr__(self, "_allow", allow_val_change)
        for key, item in items.items():
            self._set(key, item, True)

    def on_change(self, changed: Callable[[str], None]) -> None:
        """Calls `changed` with each key that is set from now on."""
        object.__setattr__(self, "_changed", changed)

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
        """Sets the entries of a dict, a Namespace, or a YAML file."""
        allow = self._allow if allow_val_change is None else allow_val_change
        for key, value in read(values).items():
            self._set(key, value, allow)

    def setdefaults(self, values: Any) -> None:
        """Sets the entries whose key is not set yet."""
        for key, value in read(values).items():
            if key not in self._items:
                self._set(key, value, False)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._items)

    def stored(self) -> dict[str, Any]:
        """A copy of those entries that can be stored."""
        return {key: item for key, item in self._items.items() if key not in self._unfit}

    def _set(self, key: str, value: Any, allow: bool) -> None:
        key = str(key)
        new, fits = fit_entry("config", key, value)
        if key in self._items:
            old = self._items[key]
            stored = fits and key not in self._unfit
            if old is new or (identical(old, new) if stored else _equal(old, new)):
                return
            if not allow:
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {_short(old)} to {_short(new)}\n'
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
        self._items[key] = new
        (self._unfit.discard if fits else self._unfit.add)(key)
        if fits:
            self._changed(key)


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


def read(source: Any) -> dict[str, Any]:
    """The entries of a dict, a Namespace, or the YAML file at a path; ConfigError for anything else."""
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}
    if isinstance(source, str | os.PathLike):
        return _read_yaml(Path(source))
    if hasattr(source, "__dict__") and not callable(source):
        return dict(vars(source))
    raise ConfigError(
        f"config must be a dict, a Namespace or the path of a YAML file, not {type(source).__name__}"
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml  # imported when first needed: `import modelyard` stays fast

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the config {path} must hold a map, not {type(content).__name__}")
    entries = {str(key): value for key, value in content.items() if key != "wandb_version"}
    # The long form has `key: {value: …, desc: …}` for each key.
    if entries and all(isinstance(item, dict) and "value" in item for item in entries.values()):
        return {key: item["value"] for key, item in entries.items()}
    return entries


def select(entries: Mapping[str, Any], include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """The entries whose key is in `include` (default: all) and not in `exclude`."""
    kept = set(entries if include is None else include) - set(exclude or ())
    return {key: value for key, value in entries.items() if key in kept}
