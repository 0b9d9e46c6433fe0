"""`wandb.sdk.lib.telemetry`: integrations note in it which features are used. modelyard keeps none of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


class _Unkept:
    """Has every attribute, and takes every one."""

    def __getattr__(self, name: str) -> _Unkept:
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        pass


@contextlib.contextmanager
def context(*, run: Any = None, obj: Any = None) -> Iterator[Any]:
    """A record whose attributes may be set, and are not kept."""
    yield _Unkept()
