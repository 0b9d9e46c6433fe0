"""Where the entries of a config come from: dicts, namespaces, dataclasses, flags, YAML files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modelyard.contract.errors import ConfigError

DEFAULTS = "config-defaults.yaml"
"""A file of this name in the working directory has entries for every run."""


def read(source: Any) -> dict[str, Any]:
    """The entries of a dict, a namespace, a dataclass, or the YAML file at a path; else ConfigError."""
    if source is None:
        return {}
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}
    if isinstance(source, str | os.PathLike):
        return _read_yaml(Path(source))
    if callable(getattr(source, "flag_values_dict", None)):  # absl.flags
        return {str(key): value for key, value in source.flag_values_dict().items()}
    if dataclasses.is_dataclass(source) and not isinstance(source, type):
        return {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    if hasattr(source, "__dict__") and not callable(source):
        return {str(key): value for key, value in vars(source).items()}
    raise ConfigError(
        f"config must be a dict, a Namespace or the path of a YAML file, not {type(source).__name__}"
    )


def read_defaults(paths: Iterable[str] = ()) -> dict[str, Any]:
    """The entries of YAML files, a later one before an earlier one; then of `config-defaults.yaml`.

    That file is in the working directory and may be missing. Errors: ConfigError.
    """
    defaults = Path(DEFAULTS)
    entries = _read_yaml(defaults) if defaults.is_file() else {}
    for path in paths:
        entries |= _read_yaml(Path(path))
    return entries


def select(entries: Mapping[str, Any], include: Any = None, exclude: Any = None) -> dict[str, Any]:
    """The entries whose key is in `include` (default: all) and not in `exclude`."""
    kept = set(entries if include is None else include) - set(exclude or ())
    return {key: value for key, value in entries.items() if key in kept}


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml  # imported when first needed: `import modelyard` stays fast

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"the config {path} must hold a map, not {type(content).__name__}")
    return {str(key): _value_of(item) for key, item in content.items() if key != "wandb_version"}


def _value_of(item: Any) -> Any:
    """The value of an entry, which may be in the long form `{value: …, desc: …}`."""
    if isinstance(item, dict) and "value" in item and item.keys() <= {"value", "desc"}:
        return item["value"]
    return item
