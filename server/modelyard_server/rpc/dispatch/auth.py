"""Who calls: the principal behind the token of a call."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors, transport
from modelyard_server.domain.access import keys
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, Principal
from modelyard_server.rpc.dispatch.transactions import Transactions

CACHE_SECONDS = 5.0
"""How long a lookup is trusted: a revoked key works at most this much longer."""
CACHE_LIMIT = 10_000
MOST_LOOKUPS = 100
"""Keys that are looked up in the database at once."""

T = TypeVar("T")


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
        self._known: dict[bytes, tuple[Principal, float]] = {}
        self._unknown: dict[bytes, float] = {}
        """Apart from those that are known: made-up keys do not displace real ones."""
        self._lookups: dict[bytes, asyncio.Future[Any]] = {}

    async def principal(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """The caller. Raises KeyMissing, KeyInvalid, RateLimited."""
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
        owner, until = self._known.get(digest, (None, self._unknown.get(digest, 0.0)))
        if until < time.monotonic():
            owner = await self._look_up(digest, lambda session: keys.owner(session, digest))
            self._remember(digest, owner)
        if owner is None:
            raise errors.KeyInvalid("the API key is unknown to this server or was revoked")
        return owner

    def _remember(self, digest: bytes, owner: Principal | None) -> None:
        self._known.pop(digest, None)
        until = time.monotonic() + CACHE_SECONDS
        if owner is not None:
            _make_room(self._known)
            self._known[digest] = (owner, until)
        else:
            _make_room(self._unknown)
            self._unknown[digest] = until

    async def _has_keys(self) -> bool:
        found, until = self._any_key
        if until < time.monotonic():
            found = await self._look_up(b"", keys.any_live)
            self._any_key = (found, time.monotonic() + CACHE_SECONDS)
        return found

    def _look_up(self, key: bytes, rule: Callable[[Session], T]) -> Awaitable[T]:
        """The rule's result. Calls that ask for the same key wait for one read.

        A key that was good before is always looked up: made-up ones do not keep it out.
        """
        lookup = self._lookups.get(key)
        if lookup is None:
            if len(self._lookups) >= MOST_LOOKUPS and key and key not in self._known:
                raise errors.RateLimited("the server is looking up many keys at once; repeat the call")
            lookup = self._lookups[key] = asyncio.ensure_future(self._transactions.read(rule))
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        return asyncio.shield(lookup)


class FolderTokenAuthenticator(Authenticator):
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


def _make_room(cache: dict[bytes, Any]) -> None:
    if len(cache) >= CACHE_LIMIT:
        cache.clear()


def _bearer(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for key, value in metadata:
        if key == transport.AUTHORIZATION:
            token = transport.key_of(value.decode("latin-1") if isinstance(value, bytes) else value)
            if token is None:
                raise errors.KeyInvalid("authorization must be `Bearer KEY`")
            return token
    return ""
