"""Who calls: the principal behind the token of a call."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable

from modelyard import errors
from modelyard_server.domain import keys
from modelyard_server.domain.principals import FOLDER_OWNER, LOCAL, Principal
from modelyard_server.rpc.pools import Transactions

CACHE_SECONDS = 5.0
"""How long a lookup is trusted: a revoked key works at most this much longer."""
CACHE_LIMIT = 10_000


class Authenticator:
    """Finds principals.

    `folder_token` is the data folder's: who can read it owns the folder.
    `keys_required` None: once the database has a key, every call needs one.
    """

    def __init__(
        self, transactions: Transactions, *, folder_token: str = "", keys_required: bool | None = None
    ) -> None:
        self._transactions = transactions
        self._folder_token = folder_token.encode()
        self._keys_required = keys_required
        self._any_key = (False, 0.0)
        self._known: dict[bytes, tuple[Principal | None, float]] = {}

    async def principal(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """The caller. Raises KeyMissing, KeyInvalid."""
        token = _bearer(metadata)
        if self._folder_token and hmac.compare_digest(token.encode(), self._folder_token):
            return FOLDER_OWNER
        if self._keys_required is False:
            return LOCAL
        if token:
            return await self._owner(token)
        if self._keys_required or await self._has_keys():
            raise errors.KeyMissing(
                "this server needs an API key: set MODELYARD_API_KEY, or run `modelyard login`; "
                "its administrator makes keys with `modelyard server key create NAME`"
            )
        return LOCAL

    async def _owner(self, token: str) -> Principal:
        digest = keys.digest(token)
        owner, until = self._known.get(digest, (None, 0.0))
        if until < time.monotonic():
            owner = await self._transactions.read(lambda session: keys.owner(session, digest))
            if len(self._known) >= CACHE_LIMIT:
                self._known.clear()
            self._known[digest] = (owner, time.monotonic() + CACHE_SECONDS)
        if owner is None:
            raise errors.KeyInvalid("the API key is unknown to this server or was revoked")
        return owner

    async def _has_keys(self) -> bool:
        found, until = self._any_key
        if until < time.monotonic():
            found = await self._transactions.read(keys.any_live)
            self._any_key = (found, time.monotonic() + CACHE_SECONDS)
        return found


class FolderOnly(Authenticator):
    """An embedded server's: the folder's token and nothing else."""

    async def principal(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """The local principal. Raises KeyMissing, KeyInvalid."""
        token = _bearer(metadata)
        if not token:
            raise errors.KeyMissing(
                "this embedded server takes only the token in its data folder's server.json"
            )
        if not hmac.compare_digest(token.encode(), self._folder_token):
            raise errors.KeyInvalid("the token is not that of this data folder's server.json")
        return FOLDER_OWNER


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for key, value in metadata:
        if key == "authorization":
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            scheme, _, token = text.partition(" ")
            if scheme.lower() != "bearer" or not token.strip():
                raise errors.KeyInvalid("authorization must be `Bearer KEY`")
            return token.strip()
    return ""
