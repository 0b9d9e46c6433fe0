"""Signs browsers in and out: `/session` with an API key, `/open` with a code that works once.

`GET /session` says who the request is taken for and how to sign in, `POST` with
`{"key": …}` signs in, `DELETE` signs out. A new session has a new token, whatever
cookie came with the request.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.orm import Session

from modelyard.contract import errors
from modelyard.contract.transport import bearer
from modelyard_server.domain.access import keys, sessions
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, Principal
from modelyard_server.rpc.dispatch import statuses
from modelyard_server.rpc.dispatch.auth import Authenticator
from modelyard_server.rpc.dispatch.transactions import Transactions
from modelyard_server.web import asgi, connect_messages, cookies
from modelyard_server.web.asgi import Receive, Scope, Send
from modelyard_server.web.codes import Codes
from modelyard_server.web.page import OPEN
from modelyard_server.web.sign_in_limit import SignInLimit

SESSION = "/session"
PATHS = {SESSION, OPEN}
BODY_BYTES = 4096
_JSON = "application/json"
_UNKNOWN_KEY = "the API key is unknown to this server or was revoked"

SignIn = Literal["key", "link", "https"]
"""How one signs in: with an API key; by the link that `modelyard web` prints, on an embedded server; not over
plain HTTP, which others can read."""


@dataclass(frozen=True)
class Door:
    """How browsers reach the server.

    `is_secure`: over TLS. `behind_proxy`: a proxy says in `x-forwarded-for` where requests come from.
    """

    sign_in: SignIn
    is_secure: bool
    behind_proxy: bool = False


class Sessions:
    """An ASGI application for the paths of PATHS."""

    def __init__(
        self, authenticator: Authenticator, transactions: Transactions, door: Door, codes: Codes
    ) -> None:
        self._authenticator = authenticator
        self._transactions = transactions
        self._door = door
        self._codes = codes
        self._limit = SignInLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        actions = {
            (SESSION, "GET"): self._show,
            (SESSION, "POST"): self._sign_in,
            (SESSION, "DELETE"): self._sign_out,
            (OPEN, "GET"): self._open,
        }
        action = actions.get((scope["path"], scope["method"]))
        if action is None:
            allowed = ", ".join(method for path, method in actions if path == scope["path"])
            await asgi.answer_text(send, 405, f"only {allowed}", [("allow", allowed)])
            return
        try:
            await action(scope, receive, send)
        except errors.CommError as error:
            status = statuses.status_of(error)
            content = connect_messages.error_body(status)
            await asgi.answer_json(send, connect_messages.HTTP_STATUSES[status.code], content)
        except asgi.Disconnected:
            pass

    async def _show(self, scope: Scope, receive: Receive, send: Send) -> None:
        needs = await self._authenticator.needs_credentials()
        await asgi.answer_json(
            send,
            200,
            {"signIn": self._door.sign_in if needs else "none", "caller": await self._caller(scope)},
        )

    async def _caller(self, scope: Scope) -> dict[str, str] | None:
        try:
            if scope[asgi.SESSION]:
                principal = await self._authenticator.session(scope[asgi.SESSION])
            else:
                principal = await self._authenticator.principal(asgi.headers_of(scope))
        except errors.AuthenticationError:
            return None
        return _shown(principal)

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = asgi.headers_of(scope)
        if asgi.first(headers, "content-type").partition(";")[0].strip().lower() != "application/json":
            await asgi.answer_text(
                send, 415, "sign in with application/json", [("accept-post", "application/json")]
            )
            return
        self._require_sign_in_by_key()
        key = _key_in(await asgi.body(receive, BODY_BYTES))
        address = self._address(scope)
        if wait := self._limit.wait_seconds(address):
            seconds = math.ceil(wait)
            limited = errors.RateLimited(f"too many failed attempts to sign in: try again in {seconds} s")
            content = connect_messages.error_body(statuses.status_of(limited))
            await asgi.answer_json(send, 429, content, [("retry-after", str(seconds))])
            return
        principal = await self._authenticator.principal(bearer(key))
        if principal in (LOCAL, FOLDER_OWNER):
            raise errors.KeyInvalid(_UNKNOWN_KEY)
        await self._begin(scope, send, keys.digest(key), principal)
        self._limit.give_back(address)

    def _require_sign_in_by_key(self) -> None:
        if self._door.sign_in == "link":
            raise errors.NotAllowed(
                "this server is its folder owner's: `modelyard web` prints the link to it"
            )
        if self._door.sign_in == "https":
            raise errors.NotAllowed(
                "others could read the key on the network: start the server with --tls-cert, or put a proxy "
                "with a certificate in front and give --web-behind-proxy"
            )

    async def _begin(self, scope: Scope, send: Send, key: bytes | None, principal: Principal) -> None:
        token = await self._new_session(scope, key)
        await asgi.answer_json(send, 200, {"caller": _shown(principal)}, [self._cookie(scope, token)])

    async def _new_session(self, scope: Scope, key: bytes | None) -> str:
        """The token of a new session, which replaces the one of the request."""
        agent = asgi.first(asgi.headers_of(scope), "user-agent")
        replaced = scope[asgi.SESSION]

        def begin(session: Session) -> str:
            if replaced:
                sessions.end(session, sessions.digest(replaced))
            return sessions.begin(session, key, agent)

        token = await self._transactions.write(begin)
        if replaced:
            self._authenticator.forget_session(replaced)
        return token

    async def _sign_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = scope[asgi.SESSION]
        if token:
            await self._transactions.write(lambda session: sessions.end(session, sessions.digest(token)))
            self._authenticator.forget_session(token)
        host = asgi.first(asgi.headers_of(scope), "host").lower()
        cleared = cookies.clearing(host, is_secure=self._door.is_secure)
        await asgi.answer_json(send, 200, {}, [cleared, ("clear-site-data", '"cache"')])

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self._codes.take(scope["query_string"].decode("latin-1").removeprefix("code="))
        if path is None:
            text = "this link was used already, or is older than a minute: run `modelyard web` again"
            await asgi.answer_text(send, 403, text)
            return
        token = await self._new_session(scope, None)
        there = [("location", path), self._cookie(scope, token), ("cache-control", "no-store")]
        await asgi.answer(send, 303, b"", there)

    def _cookie(self, scope: Scope, token: str) -> tuple[str, str]:
        host = asgi.first(asgi.headers_of(scope), "host").lower()
        return cookies.setting(token, host, is_secure=self._door.is_secure)

    def _address(self, scope: Scope) -> str:
        """The address that a request comes from; behind a proxy the one that it added."""
        forwarded = [value for name, value in asgi.headers_of(scope) if name == "x-forwarded-for"]
        if self._door.behind_proxy and forwarded:
            return forwarded[-1].rpartition(",")[2].strip()
        return scope["client"][0] if scope["client"] else ""


def _key_in(body: bytes) -> str:
    """The key in the body of a request to sign in. Raises InvalidField."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    key = content.get("key") if isinstance(content, dict) else None
    if not isinstance(key, str) or not key.strip():
        raise errors.InvalidField.of("key", 'expected {"key": "my_…"}')
    return key.strip()


def _shown(principal: Principal) -> dict[str, str]:
    """A caller as GetCaller shows it in JSON."""
    return {"principalId": principal.id, "principal": principal.name, "entity": principal.entity}
