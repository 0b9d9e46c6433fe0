"""`modelyard.apis.public`, where scripts for W&B find the classes of what `Api` returns."""

from __future__ import annotations

from modelyard.api import Api as PublicApi
from modelyard.apis import public

__all__ = ["PublicApi", "public"]
