"""Metadata of artifacts: checked, and converted to what can be stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.contract import values
from modelyard.contract.limits import METADATA_KEYS
from modelyard.rpc.plain_values import fit


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
        {str(key): fit(item, f"metadata.{key}") for key, item in metadata.items()}
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
