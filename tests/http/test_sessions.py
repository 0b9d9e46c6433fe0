"""Signing in with an API key: cookies, attacks on them, and what ends a session."""

from __future__ import annotations

import json
import re
import sqlite3
import ssl
from pathlib import Path

import pytest

from tests.clients.waiting import until
from tests.http.browser import Browser
from tests.http.conftest import INDEX
from tests.parts.certificates import certificate_for_localhost
from tests.parts.server import Factory, LiveServer, create_key, run_server_command

CALLER = "/modelyard.v1.ServerService/GetCaller"


def key_for(server: LiveServer, name: str, entity: str = "acme") -> str:
    return create_key(server, name, "--entity", entity)


def revoke(server: LiveServer, name: str) -> None:
    listed = run_server_command("key", "ls", *server.place).stdout
    (line,) = [line for line in listed.splitlines() if f" {name} " in line]
    assert run_server_command("key", "revoke", line.split()[0], *server.place).returncode == 0


def test_a_browser_signs_in_calls_and_signs_out(closed_server: LiveServer, acme_key: str) -> None:
    browser = Browser(closed_server)
    assert browser.get("/").body == INDEX  # the page itself needs no key: it asks for one
    assert browser.get("/session").json == {"signIn": "key", "caller": None}
    assert browser.create_run("p").status == 401
    signed_in = browser.sign_in(acme_key)
    assert signed_in.status == 200
    caller = signed_in.json["caller"]
    assert (caller["principal"], caller["entity"]) == ("ada", "acme")
    assert browser.get("/session").json == {"signIn": "key", "caller": caller}
    assert browser.post(CALLER, {}).json["caller"] == caller
    assert browser.create_run("p").status == 200
    (cookie,) = browser.cookies.items()
    signed_out = browser.send("DELETE", "/session", sec_fetch_site="same-origin")
    assert signed_out.status == 200
    assert browser.cookies == {}
    browser.cookies = dict([cookie])
    assert browser.create_run("p").status == 401
    assert browser.get("/session").json["caller"] is None


def test_a_session_reaches_no_further_than_its_key(closed_server: LiveServer, acme_key: str) -> None:
    browser = Browser(closed_server)
    browser.sign_in(acme_key)
    other = browser.post("/modelyard.v1.RunService/CreateRun", {"run": {"entity": "other", "project": "p"}})
    assert other.status in {403, 404}


def test_the_cookie_over_plain_http_on_loopback(closed_server: LiveServer, acme_key: str) -> None:
    browser = Browser(closed_server)
    port = browser.origin.rpartition(":")[2]
    cookie = browser.sign_in(acme_key).headers["set-cookie"]
    expected = rf"modelyard-{port}=[A-Za-z0-9_-]{{43}}; Path=/; HttpOnly; SameSite=Strict"
    assert re.fullmatch(expected, cookie)


def test_the_cookie_over_tls(live_server_factory: Factory, tmp_path: Path) -> None:
    chain, secret = certificate_for_localhost(tmp_path)
    server = live_server_factory("--web-port", "0", "--tls-cert", str(chain), "--tls-key", str(secret))
    key = key_for(server, "ada")
    server.start()
    browser = Browser(server, context=ssl.create_default_context(cafile=str(chain)))
    cookie = browser.sign_in(key).headers["set-cookie"]
    expected = r"__Host-modelyard=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert re.fullmatch(expected, cookie)
    assert browser.post(CALLER, {}).json["caller"]["principal"] == "ada"


def test_no_key_is_taken_over_plain_http_beyond_this_machine(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0", "--host", "0.0.0.0")
    key = key_for(server, "ada")
    browser = Browser(server.start())
    assert browser.get("/session").json["signIn"] == "https"
    refused = browser.sign_in(key)
    assert (refused.status, "--tls-cert" in refused.json["message"]) == (403, True)
    assert browser.cookies == {}


def test_behind_a_proxy_the_cookie_is_that_of_tls(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0", "--host", "0.0.0.0", "--web-behind-proxy")
    key = key_for(server, "ada")
    browser = Browser(server.start())
    public = {"host": "models.example.org", "origin": "https://models.example.org"}
    cookie = browser.sign_in(key, **public).headers["set-cookie"]
    assert cookie.startswith("__Host-modelyard=")
    assert cookie.endswith("; Secure")
    assert browser.create_run("p", **public).status == 200


def test_a_session_is_never_one_that_an_attacker_knows(closed_server: LiveServer, acme_key: str) -> None:
    attacker, victim = Browser(closed_server), Browser(closed_server)
    mallory = key_for(closed_server, "mallory", "evil")
    attacker.sign_in(mallory)
    (planted,) = attacker.cookies.items()
    victim.cookies = {planted[0]: planted[1]}
    assert victim.sign_in(acme_key).status == 200
    assert victim.cookies[planted[0]] != planted[1]
    # The session that was planted has ended; it never became the victim's.
    assert attacker.post(CALLER, {}).status == 401
    made_up = Browser(closed_server)
    made_up.cookies = {planted[0]: "chosen-by-the-attacker"}
    made_up.sign_in(acme_key)
    assert made_up.cookies[planted[0]] != "chosen-by-the-attacker"


def test_two_cookies_of_the_name_are_none(closed_server: LiveServer, acme_key: str) -> None:
    browser = Browser(closed_server)
    browser.sign_in(acme_key)
    ((name, token),) = browser.cookies.items()
    assert browser.post(CALLER, {}, cookie=f"other=1; {name}={token}").status == 200
    assert browser.post(CALLER, {}, cookie=f"{name}=planted; {name}={token}").status == 401


def test_keys_and_tokens_of_sessions_are_not_exchanged(closed_server: LiveServer, acme_key: str) -> None:
    browser = Browser(closed_server)
    browser.sign_in(acme_key)
    ((name, token),) = browser.cookies.items()
    stranger = Browser(closed_server)
    assert stranger.post(CALLER, {}, authorization=f"Bearer {token}").status == 401
    assert stranger.sign_in(token).status == 401
    stranger.post(CALLER, {}, authorization=f"Bearer {acme_key}")  # the server has looked it up
    assert stranger.post(CALLER, {}, cookie=f"{name}={acme_key}").status == 401


def test_a_revoked_key_ends_its_sessions(closed_server: LiveServer) -> None:
    key = key_for(closed_server, "leaver")
    browser = Browser(closed_server)
    browser.sign_in(key)
    assert browser.create_run("p").status == 200
    revoke(closed_server, "leaver")
    until(lambda: browser.create_run("p").status == 401)
    assert browser.get("/session").json["caller"] is None
    assert browser.sign_in(key).status == 401


def test_a_session_without_use_ends(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0")
    key = key_for(server, "ada")
    browser = Browser(server.start())
    browser.sign_in(key)
    assert browser.create_run("p").status == 200
    with sqlite3.connect(server.data / "modelyard.db") as database:
        database.execute("UPDATE web_session SET used_at = used_at - ?", (12 * 3600 * 1_000_000,))
    until(lambda: browser.create_run("p").status == 401)


def test_using_a_session_keeps_it(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0")
    key = key_for(server, "ada")
    browser = Browser(server.start())
    browser.sign_in(key)
    with sqlite3.connect(server.data / "modelyard.db") as database:
        database.execute("UPDATE web_session SET used_at = used_at - ?", (11 * 3600 * 1_000_000,))
        before = database.execute("SELECT used_at FROM web_session").fetchone()[0]
    assert browser.create_run("p").status == 200

    def was_noted() -> bool:
        with sqlite3.connect(server.data / "modelyard.db") as database:
            return bool(database.execute("SELECT used_at FROM web_session").fetchone()[0] > before)

    until(was_noted)


def test_failed_attempts_are_limited_for_their_address_alone(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0")
    key = key_for(server, "ada")
    server.start()
    guessing, elsewhere = Browser(server), Browser(server, source="127.0.0.2")
    for _ in range(12):  # those that succeed do not count
        assert guessing.sign_in(key).status == 200
    statuses = [guessing.sign_in(f"my_{number:032}").status for number in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    right = guessing.sign_in(key, x_forwarded_for="127.0.0.9")
    assert (right.status, right.json["code"]) == (429, "resource_exhausted")
    assert int(right.headers["retry-after"]) in range(1, 7)
    assert elsewhere.sign_in(key).status == 200


def test_attempts_behind_a_proxy_count_for_the_address_that_it_names(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0", "--web-behind-proxy")
    key = key_for(server, "ada")
    browser = Browser(server.start())
    for number in range(11):  # what the client itself puts in front does not matter
        browser.sign_in("my_wrong", x_forwarded_for=f"10.0.0.{number}, 192.0.2.1")
    assert browser.sign_in(key, x_forwarded_for="192.0.2.1").status == 429
    assert browser.sign_in(key, x_forwarded_for="192.0.2.1, 192.0.2.2").status == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"key": 7}', b'{"key": ""}', b'{"key": null}', b"\xff", b"[" * 4_000],
)
def test_a_bad_request_to_sign_in_names_the_field(closed_server: LiveServer, body: bytes) -> None:
    browser = Browser(closed_server)
    found = browser.send(
        "POST", "/session", body, sec_fetch_site="same-origin", **{"content-type": "application/json"}
    )
    assert (found.status, "key" in found.json["message"]) == (400, True)
    long = json.dumps({"key": "x" * 5_000}).encode()
    refused = browser.send("POST", "/session", long, **{"content-type": "application/json"})
    assert (refused.status, "larger than" in refused.json["message"]) == (400, True)
    assert browser.send("PUT", "/session", sec_fetch_site="same-origin").status == 405


def test_a_server_without_keys_needs_no_session_and_minds_no_old_one(open_server: LiveServer) -> None:
    browser = Browser(open_server)
    port = browser.origin.rpartition(":")[2]
    browser.cookies = {f"modelyard-{port}": "of-earlier-days"}
    shown = browser.get("/session").json
    assert (shown["signIn"], shown["caller"]["principal"]) == ("none", "local")
    assert browser.create_run("p").status == 200
    assert browser.sign_in("my_" + "0" * 32).status == 401


def test_no_key_and_no_token_is_logged(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0", "--log-level", "debug")
    key = key_for(server, "ada")
    browser = Browser(server.start())
    browser.sign_in(key)
    browser.create_run("p")
    browser.sign_in("my_wrong_key_of_someone")
    server.stop()
    logged = server.log.read_text()
    assert "CreateRun" in logged
    for secret in (key, *browser.cookies.values(), "my_wrong_key_of_someone"):
        assert secret not in logged
