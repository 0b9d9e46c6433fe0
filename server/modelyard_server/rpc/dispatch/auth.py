"""Finds the principal behind the API key, or the session, of a call."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from modelyard.contract import errors, transport
from modelyard_server.domain.access import keys, sessions
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, Principal
from modelyard_server.rpc.dispatch.transactions import Transactions

CACHE_SECONDS = 5.0
"""How long the result of a lookup is cached. A revoked key, and its sessions, work for at most this long."""
CACHE_LIMIT = 10_000
MOST_LOOKUPS = 100
"""Lookups in the database at once."""

T = TypeVar("T")


class Authenticator:
    """Finds principals by API key or session.

    `folder_token` is the token in the data folder; only the folder's owner can
    read it. `keys_required` None means that calls need a key once the database
    has one.
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
        """Kept apart from `_known`, so that made-up keys do not displace real ones."""
        self._lookups: dict[bytes, asyncio.Future[Any]] = {}

    async def principal(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """Returns the caller. Raises KeyMissing, KeyInvalid, RateLimited."""
        token = _bearer(metadata)
        if self._folder_token and hmac.compare_digest(token.encode(), self._folder_token):
            return FOLDER_OWNER
        if self._keys_required is False:
            return LOCAL
        if token:
            return await self._owner(token)
        if await self.needs_credentials():
            raise errors.KeyMissing(
                "this server needs an API key: set MODELYARD_API_KEY, or run `modelyard login`; "
                "its administrator makes keys with `modelyard server key create NAME`"
            )
        return LOCAL

    async def session(self, token: str) -> Principal:
        """Returns the principal of a session. Raises KeyInvalid, RateLimited."""
        if self._keys_required is False:
            return LOCAL
        digest = sessions.digest(token)
        owner, until = self._known.get(digest, (None, self._unknown.get(digest, 0.0)))
        if until < time.monotonic():
            found = await self._look_up(digest, lambda session: sessions.find(session, digest))
            owner = None if found is None else found.principal
            self._remember(digest, owner)
            if found is not None and found.is_due:
                # A server whose disk is full goes on serving the session.
                with contextlib.suppress(errors.CommError):
                    await self._transactions.write(lambda session: sessions.use(session, digest))
        if owner is not None:
            return owner
        if await self.needs_credentials():
            raise errors.KeyInvalid("the session has ended: sign in again")
        return LOCAL

    async def needs_credentials(self) -> bool:
        """Whether calls need a key or a session."""
        return bool(self._keys_required) or (self._keys_required is None and await self._has_keys())

    def forget_session(self, token: str) -> None:
        """Looks a session up again at its next call."""
        self._known.pop(sessions.digest(token), None)

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
        """The rule's result. Calls with the same key share one read.

        The limit on lookups does not apply to keys that were valid before, so that a flood of made-up
        keys does not lock their owners out.
        """
        lookup = self._lookups.get(key)
        if lookup is None:
            if len(self._lookups) >= MOST_LOOKUPS and key and key not in self._known:
                raise errors.RateLimited("the server is looking up many keys at once; repeat the call")
            lookup = self._lookups[key] = asyncio.ensure_future(self._transactions.read(rule))
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        return asyncio.shield(lookup)


class FolderTokenAuthenticator(Authenticator):
    """Accepts only the folder's token, and sessions of its owner: for embedded servers."""

    async def principal(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """Returns the folder's owner. Raises KeyMissing, KeyInvalid."""
        token = _bearer(metadata)
        if not token:
            raise errors.KeyMissing(
                "this embedded server takes only the token in its data folder's server.json"
            )
        if not hmac.compare_digest(token.encode(), self._folder_token):
            raise errors.KeyInvalid("the token is not that of this data folder's server.json")
        return FOLDER_OWNER

    async def needs_credentials(self) -> bool:
        """True."""
        return True


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
