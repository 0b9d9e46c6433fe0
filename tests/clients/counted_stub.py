"""A stub that counts calls."""

from __future__ import annotations

from collections import Counter
from typing import Any


class CountedStub:
    """A stub that counts the calls made through it, by method."""

    def __init__(self, stub: Any, calls: Counter[str]) -> None:
        self._stub = stub
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._stub, name)
