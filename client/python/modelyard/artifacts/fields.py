"""The fields of a version that may change after it was logged, and the check of its metadata."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelyard.artifacts.name_lists import NameList, packed, unpacked
from modelyard.contract import refs, values
from modelyard.conversion.plain_values import fit, key_text

METADATA_KEYS = 100


@dataclass
class VersionFields:
    """What may change of a version besides its content; `ttl` None: it does not expire."""

    description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    aliases: NameList = field(default_factory=lambda: NameList(check=refs.check_alias))
    tags: NameList = field(default_factory=lambda: NameList(check=refs.check_tag))
    ttl: datetime.timedelta | None = None

    def __getstate__(self) -> dict[str, Any]:
        return packed(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(unpacked(state))


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata as it is stored: plain values, NaN as None.

    ValueError, which names the key, for infinities, more than 100 keys and values that `fit` refuses.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict, not {type(metadata).__name__}")
    if len(metadata) > METADATA_KEYS:
        raise ValueError(f"metadata has at most {METADATA_KEYS} keys at the top, not {len(metadata)}")
    clean: dict[str, Any] = _without_nan(
        {key_text(key): fit(item, f"metadata.{key_text(key)}") for key, item in metadata.items()}
    )
    problem = values.check(clean, "metadata", finite=True)
    if problem:
        raise ValueError(problem)
    return clean


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value
