"""Sessions of browsers, on both databases: whose they are, and when they end."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.caller_tables import WebSession
from modelyard_server.domain.access import keys, sessions
from modelyard_server.domain.access.principals import FOLDER_OWNER, Principal
from tests.inprocess.registry import Registry


class Users:
    """Keys and sessions of a database."""

    def __init__(self, registry: Registry) -> None:
        self.database = registry.database

    def key(self, name: str, *, all_entities: bool = False) -> tuple[Principal, bytes, str]:
        """A new key: its principal, its digest and its id."""

        def create(session: Session) -> tuple[Principal, bytes, str]:
            owned, text = keys.create(session, name, "acme", all_entities=all_entities)
            return owned.principal, keys.digest(text), owned.key.id

        return self.database.write(create)

    def begin(self, key: bytes | None, agent: str = "Firefox") -> str:
        return self.database.write(lambda session: sessions.begin(session, key, agent))

    def find(self, token: str) -> sessions.Found | None:
        return self.database.read(lambda session: sessions.find(session, sessions.digest(token)))

    def use(self, token: str) -> None:
        self.database.write(lambda session: sessions.use(session, sessions.digest(token)))

    def sweep(self) -> int:
        return self.database.write(sessions.delete_ended)

    def count(self) -> int:
        question = select(func.count()).select_from(WebSession)
        return int(self.database.read(lambda session: session.scalar(question)) or 0)

    def age(self, token: str, *, used: int = 0, made: int = 0) -> None:
        """Lets time pass: since the last use, or since the beginning, in microseconds."""
        statement = update(WebSession).where(WebSession.hash == sessions.digest(token))
        older = {"used_at": WebSession.used_at - used, "created_at": WebSession.created_at - made}
        self.database.write(lambda session: session.execute(statement.values(**older)))


@pytest.fixture
def users(registry: Registry) -> Users:
    return Users(registry)


def test_a_session_acts_as_its_key(users: Users) -> None:
    for name, all_entities in (("ada", False), ("root", True)):
        principal, key, _ = users.key(name, all_entities=all_entities)
        assert users.find(users.begin(key)) == sessions.Found(principal, is_due=False)
    assert users.find(users.begin(None)) == sessions.Found(FOLDER_OWNER, is_due=False)


def test_only_the_token_opens_a_session_and_it_is_not_stored(users: Users) -> None:
    _, key, _ = users.key("ada")
    token, other = users.begin(key), users.begin(key)
    assert token != other
    assert users.find(token[:-1]) is None
    assert users.find(sessions.digest(token).hex()) is None
    rows = users.database.read(lambda session: session.scalars(select(WebSession)).all())
    for row in rows:
        assert token not in repr(vars(row))


def test_a_key_that_is_unknown_or_revoked_begins_none(users: Users) -> None:
    _, key, key_id = users.key("ada")
    users.database.write(lambda session: keys.revoke(session, key_id))
    for digest in (key, keys.digest("my_unknown")):
        with pytest.raises(errors.KeyInvalid):
            users.begin(digest)
    assert users.count() == 0


def test_a_revoked_key_ends_its_sessions_and_no_others(users: Users) -> None:
    _, key, key_id = users.key("ada")
    _, other, _ = users.key("ada")
    ended, goes_on = users.begin(key), users.begin(other)
    users.database.write(lambda session: keys.revoke(session, key_id))
    assert users.find(ended) is None
    assert users.find(goes_on)
    assert (users.sweep(), users.count()) == (1, 1)


def test_twelve_hours_without_use_end_a_session(users: Users) -> None:
    _, key, _ = users.key("ada")
    token = users.begin(key)
    users.age(token, used=sessions.IDLE - sessions.USE_EVERY)
    assert users.find(token)
    assert users.sweep() == 0
    users.age(token, used=sessions.USE_EVERY)
    assert users.find(token) is None
    users.use(token)  # too late
    assert users.find(token) is None
    assert (users.sweep(), users.count()) == (1, 0)


def test_a_session_in_use_goes_on_for_thirty_days(users: Users) -> None:
    token = users.begin(users.key("ada")[1])
    users.age(token, used=sessions.IDLE // 2, made=sessions.LIFETIME // 2)
    found = users.find(token)
    assert found is not None
    assert found.is_due
    users.use(token)
    used = users.find(token)
    assert used is not None
    assert not used.is_due
    users.age(token, made=sessions.LIFETIME // 2 + 1)
    assert users.find(token) is None


def test_the_oldest_session_of_a_key_makes_room(users: Users) -> None:
    _, key, _ = users.key("ada")
    elsewhere = users.begin(users.key("bob")[1])
    tokens = [users.begin(key) for _ in range(sessions.MOST_OF_A_KEY)]
    users.age(tokens[1], used=1_000_000)
    newest = users.begin(key)
    ended = [token for token in (*tokens, newest, elsewhere) if users.find(token) is None]
    assert ended == [tokens[1]]


def test_any_name_of_a_browser_is_kept_short(users: Users) -> None:
    _, key, _ = users.key("ada")
    users.begin(key, "Mozilla\0\n\x1b[2J \u202e" + "x" * 1_000)
    agent = users.database.read(lambda session: session.scalar(select(WebSession.user_agent)))
    assert agent is not None
    assert agent.startswith("Mozilla[2J xxx")
    assert len(agent) == 200


def test_an_ended_session_stays_ended(users: Users) -> None:
    token = users.begin(users.key("ada")[1])
    for _ in range(2):
        users.database.write(lambda session: sessions.end(session, sessions.digest(token)))
        assert users.find(token) is None
