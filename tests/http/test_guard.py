"""Pages of other sites cannot use the server: by forged requests, or by a name of theirs with its address."""

from __future__ import annotations

import json

import grpc
import pytest

from modelyard.v1 import run_pb2
from modelyard_server.web.guard import SECURITY_HEADERS
from tests.http.browser import RUNS, Browser
from tests.parts.server import Factory, LiveServer, create_key, new_project

STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
EVIL = "https://evil.example"


def runs_of(server: LiveServer, project: str) -> int:
    """How many runs a project has, asked over gRPC."""
    request = run_pb2.ListRunsRequest(entity="acme", project=project)
    try:
        return len(server.stubs().runs.ListRuns(request).runs)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return 0
        raise


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/app.js", {}),
        ("GET", "/favicon.ico", {}),
        ("GET", "/session", {}),
        ("GET", "/open?code=guessed", {}),
        ("POST", f"{RUNS}/ListRuns", {"content-type": "application/json"}),
        ("POST", f"{RUNS}/ListRuns", {}),
        ("GET", f"{RUNS}/ListRuns", {}),
        ("GET", "/", {"host": "evil.example"}),
        ("POST", f"{RUNS}/ListRuns", {"origin": EVIL}),
    ],
)
def test_every_response_has_the_strict_headers(
    open_server: LiveServer, method: str, path: str, headers: dict[str, str]
) -> None:
    found = Browser(open_server).send(method, path, b"{}" if method == "POST" else b"", **headers)
    assert found.headers["content-security-policy"] == STRICT
    for name, value in SECURITY_HEADERS.items():
        assert found.headers[name] == value
    assert "access-control-allow-origin" not in found.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "[", ""])
def test_a_name_that_is_not_the_servers_reaches_nothing(open_server: LiveServer, host: str) -> None:
    browser = Browser(open_server)
    named = host.format(port=browser.origin.rpartition(":")[2])
    project = new_project()
    origin = f"http://{named}"
    assert browser.create_run(project, host=named, origin=origin).status == 421
    for path in ("/", "/app.js", "/session", "/open?code=c", "/files/version/v/f"):
        assert browser.send("GET", path, host=named).status == 421, path
    assert runs_of(open_server, project) == 0


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:9", "[::1]:7601", "127.8.8.8"])
def test_names_of_loopback_are_the_servers_through_any_tunnel(open_server: LiveServer, host: str) -> None:
    browser = Browser(open_server)
    assert browser.get("/", host=host).status == 200
    assert browser.create_run(new_project(), host=host, origin=f"http://{host}").status == 200


def test_further_names_are_given_by_an_option(live_server_factory: Factory) -> None:
    options = ("--web-host", "models.test", "--web-host", "other.test", "--web-url", "https://public.test")
    browser = Browser(live_server_factory("--web-port", "0", *options).start())
    for name in ("models.test", "other.test:7601", "public.test"):
        assert browser.create_run("p", host=name, origin=f"https://{name}").status == 200
    assert browser.create_run("p", host="inner:80", origin="https://inner:80").status == 421
    # A proxy that writes another host: the page is where --web-url says.
    assert browser.create_run("p", host="127.0.0.1", origin="https://public.test").status == 200


def test_a_server_without_keys_for_others_checks_names_too(live_server_factory: Factory) -> None:
    browser = Browser(live_server_factory("--web-port", "0", "--host", "0.0.0.0", "--no-auth").start())
    assert browser.get("/session", host="evil.example").status == 421
    assert browser.get("/session", host="10.1.2.3:7601").status == 200


OTHER_SITES: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site", "origin": EVIL},
    {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
    {"sec-fetch-site": "cross-site", "origin": ""},
    {"sec-fetch-site": "", "origin": EVIL},
    {"sec-fetch-site": "", "origin": "null"},
    {"sec-fetch-site": "", "origin": "http://127.0.0.1:1"},
    {"sec-fetch-site": "same-origin", "origin": EVIL},
]


@pytest.mark.parametrize("headers", OTHER_SITES)
def test_a_write_of_another_site_is_refused_whoever_is_signed_in(
    open_server: LiveServer, closed_server: LiveServer, acme_key: str, headers: dict[str, str]
) -> None:
    given = {name: value for name, value in headers.items() if value}
    for server in (open_server, closed_server):
        browser, project = Browser(server), new_project()
        if server is closed_server:
            assert browser.sign_in(acme_key).status == 200
            assert browser.create_run(project).status == 200
        before = runs_of(server, project)
        body = json.dumps({"run": {"entity": "acme", "project": project}}).encode()
        refused = browser.send(
            "POST", f"{RUNS}/CreateRun", body, **{"content-type": "application/json"}, **given
        )
        assert refused.status == 403
        assert runs_of(server, project) == before


@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "none"}])
def test_a_session_is_only_for_requests_that_say_they_are_the_pages(
    closed_server: LiveServer, acme_key: str, headers: dict[str, str]
) -> None:
    browser, project = Browser(closed_server), new_project()
    browser.sign_in(acme_key)
    body = json.dumps({"run": {"entity": "acme", "project": project}}).encode()
    kind = {"content-type": "application/json"}
    assert browser.send("POST", f"{RUNS}/CreateRun", body, **kind, **headers).status == 403
    assert browser.send("DELETE", "/session", **headers).status == 403
    # Older browsers say where a request comes from in `origin` alone.
    assert browser.send("POST", f"{RUNS}/CreateRun", body, **kind, origin=browser.origin).status == 200
    assert runs_of(closed_server, project) == 1


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_what_a_form_can_send_is_no_call_and_no_sign_in(
    closed_server: LiveServer, acme_key: str, content_type: str
) -> None:
    browser, project = Browser(closed_server), new_project()
    browser.sign_in(acme_key)
    kind = {"content-type": content_type} if content_type else {}
    for path, content in (
        (f"{RUNS}/CreateRun", {"run": {"entity": "acme", "project": project}}),
        ("/session", {"key": acme_key}),
    ):
        body = json.dumps(content).encode()
        assert browser.send("POST", path, body, sec_fetch_site="same-origin", **kind).status == 415
    assert runs_of(closed_server, project) == 0


def test_a_link_of_another_site_opens_the_page_but_no_file(open_server: LiveServer) -> None:
    browser = Browser(open_server)
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert browser.send("GET", "/registry/model", **link).status == 200
    assert browser.send("GET", "/files/version/v/f", **link).status == 403
    assert browser.send("GET", "/session", **link).status == 403
    framed = link | {"sec-fetch-dest": "iframe"}
    assert browser.send("GET", "/", **framed).status == 403
    script = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}
    assert browser.send("GET", "/app.js", **script).status == 403


def test_a_key_counts_and_not_the_session_beside_it(closed_server: LiveServer, acme_key: str) -> None:
    other = create_key(closed_server, "bob", "--entity", "other")
    browser = Browser(closed_server)
    browser.sign_in(acme_key)
    caller = browser.post("/modelyard.v1.ServerService/GetCaller", {}, authorization=f"Bearer {other}")
    assert caller.json["caller"]["principal"] == "bob"
    wrong = browser.post("/modelyard.v1.ServerService/GetCaller", {}, authorization="Bearer my_wrong")
    assert wrong.status == 401
    # Of the proxy in front, which has passwords of its own.
    basic = browser.post("/modelyard.v1.ServerService/GetCaller", {}, authorization="Basic cHJveHk6eA==")
    assert basic.json["caller"]["principal"] == "ada"
