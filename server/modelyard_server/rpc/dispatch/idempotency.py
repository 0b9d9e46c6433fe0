"""Requests that clients may repeat: the same `request_id` gets the reply of its first success."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from google.protobuf.message import Message
from sqlalchemy.orm import Session

from modelyard_server.domain import requests
from modelyard_server.domain.access.principals import Principal


@dataclass(frozen=True)
class RepeatableRequest:
    """A write, known by its caller, method and `request_id`; with an empty id it is never a repetition.

    `digest` is that of the request's content. Another content under the same id is refused.
    """

    principal: Principal
    method: str
    request_id: str
    digest: bytes

    def stored(self, session: Session) -> bytes | None:
        """Returns the encoded reply of the first success, or None. Raises RequestIdReused."""
        if not self.request_id:
            return None
        return requests.stored(session, self.principal, self.method, self.request_id, self.digest)

    def begin(self, session: Session) -> bytes | None:
        """Does the same as `stored`, and locks the id for this transaction where there is no reply."""
        if not self.request_id:
            return None
        return requests.begin(session, self.principal, self.method, self.request_id, self.digest)

    def finish(self, session: Session, reply: bytes) -> None:
        """Stores the encoded reply in the transaction of the effect."""
        if self.request_id:
            requests.finish(session, self.principal, self.method, self.request_id, reply)


def content_digest(message: Message, *parts: bytes) -> bytes:
    """The SHA-256 of a message in its deterministic encoding, followed by further parts."""
    return hashlib.sha256(b"".join((message.SerializeToString(deterministic=True), *parts))).digest()
