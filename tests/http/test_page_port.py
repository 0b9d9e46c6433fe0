"""Where the page is served: the port of a server, and the link of an embedded one."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from modelyard.local.v1 import local_pb2
from modelyard.v1 import server_pb2
from modelyard_server.web.codes import MOST, SECONDS, Codes
from tests.clients.commands import COMMAND, json_of, refused, run_command
from tests.http.browser import Browser
from tests.http.conftest import INDEX
from tests.http.test_connect import Watch
from tests.parts.embedded import isolate
from tests.parts.fork_server import run_python
from tests.parts.server import Factory, LiveServer, create_key, run_server_command


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The settings of the SDK in this process, without those of the machine."""
    isolate(monkeypatch, tmp_path)
    return monkeypatch


@pytest.fixture
def private(live_server_factory: Factory, dist: Path, settings: pytest.MonkeyPatch) -> LiveServer:
    """An embedded server that the commands of this process use."""
    server = live_server_factory("--embedded", "--idle-seconds", "600", "--web-dist", str(dist)).start()
    settings.setenv("MODELYARD_DATA_DIR", str(server.data))
    return server


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


@pytest.fixture
def two_ports() -> Iterator[tuple[int, socket.socket]]:
    """A free port, and the next one, which somebody has."""
    while True:
        with closing(socket.socket()) as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            first.close()
            yield port, second
            return


def web_url(server: LiveServer) -> str:
    """The page's address as the server tells its clients."""
    return str(server.stubs().server.GetServerInfo(server_pb2.GetServerInfoRequest()).web_url)


def test_a_server_serves_its_page_on_the_port_after_its_own(
    live_server_factory: Factory, dist: Path, two_ports: tuple[int, socket.socket]
) -> None:
    port, next_port = two_ports
    next_port.close()
    server = live_server_factory("--web-dist", str(dist))
    server.port = port
    server.start()
    assert server.web_url == f"http://127.0.0.1:{port + 1}"
    assert web_url(server) == server.web_url
    assert Browser(server).get("/").body == INDEX


def test_a_default_port_that_is_taken_is_a_warning_and_a_chosen_one_an_error(
    live_server_factory: Factory, dist: Path, tmp_path: Path, two_ports: tuple[int, socket.socket]
) -> None:
    port, taken = two_ports
    taken.listen()
    server = live_server_factory("--web-dist", str(dist))
    server.port = port
    server.start()
    assert (server.web_url, web_url(server)) == ("", "")
    assert "the page is not served" in server.log.read_text()
    place = ("--data", str(tmp_path / "other"), "--port", "0")
    refused = run_server_command("start", *place, "--web-port", str(port + 1))
    assert refused.returncode == 1
    assert "--web-port takes another" in refused.stderr


def test_without_a_page_there_is_no_default_port(live_server_factory: Factory, tmp_path: Path) -> None:
    assert live_server_factory("--web-dist", str(tmp_path)).start().web_url == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--no-web", "--web-port", "0"), "exclude each other"),
        (("--web-url", "models.example.org"), "--web-url takes an address"),
        (("--web-url", "https://models.example.org/path"), "--web-url takes an address"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = run_server_command("start", "--data", str(tmp_path / "data"), "--port", "0", *options)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_the_link_of_an_embedded_server_signs_its_owner_in_once(private: LiveServer) -> None:
    link = json_of("web")["url"]
    browser, late = Browser(link), Browser(link)
    assert urlsplit(link).hostname == "127.0.0.1"
    assert browser.get("/").body == INDEX
    assert browser.get("/session").json == {"signIn": "link", "caller": None}
    assert browser.create_run("p").status == 401
    opened = browser.send("GET", path_of(link), sec_fetch_site="none")
    assert (opened.status, opened.headers["location"], opened.body) == (303, "/", b"")
    assert opened.headers["cache-control"] == "no-store"
    assert browser.create_run("p").status == 200
    assert browser.get("/session").json["caller"]["principal"] == "local"
    refused = late.send("GET", path_of(link))
    assert (refused.status, refused.headers.get("set-cookie")) == (403, None)
    assert late.create_run("p").status == 401
    # No key opens it, since it has none.
    assert late.sign_in(private.token).status == 403


def test_another_link_is_for_another_browser_on_the_same_port(private: LiveServer) -> None:
    first, second = (json_of("web")["url"] for _ in range(2))
    assert urlsplit(first).port == urlsplit(second).port
    browsers = [Browser(first), Browser(second)]
    for browser, link in zip(browsers, (first, second), strict=True):
        assert browser.send("GET", path_of(link)).status == 303
        assert browser.create_run("p").status == 200
    assert browsers[0].cookies != browsers[1].cookies


def test_others_neither_use_nor_spend_a_link(private: LiveServer) -> None:
    link = json_of("web")["url"]
    browser = Browser(link)
    assert browser.send("GET", path_of(link), host="evil.example").status == 421
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert browser.send("GET", path_of(link), **fetched).status == 403
    assert browser.send("HEAD", path_of(link)).status == 405
    for wrong in (
        "/open",
        "/open?code=",
        "/open?code=%00",
        "/open?x=1",
        path_of(link)[:-1],
        path_of(link) + "x",
    ):
        assert browser.send("GET", wrong).status == 403, wrong
    # A link that a page of another site shows, such as a notebook, may be followed.
    clicked = {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert browser.send("GET", path_of(link), **clicked).status == 303


def test_only_the_folders_owner_gets_a_link(closed_server: LiveServer, acme_key: str) -> None:
    request = local_pb2.OpenWebRequest()
    with pytest.raises(grpc.RpcError) as refusal:
        closed_server.stubs(acme_key).local.OpenWeb(request)
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    link = closed_server.stubs().local.OpenWeb(request).url
    assert link.startswith(f"{closed_server.web_url}/open?code=")
    browser = Browser(closed_server)
    assert browser.send("GET", path_of(link)).status == 303
    assert browser.create_run("p").status == 200


def test_a_code_works_once_and_for_a_minute() -> None:
    now = [0.0]
    codes = Codes(lambda: now[0])
    first, second, third = (codes.make(path) for path in ("/", "/local/p", "/third"))
    assert codes.take(first) == "/"
    assert codes.take(first) is None
    now[0] = SECONDS
    assert codes.take(second) == "/local/p"
    now[0] = SECONDS + 0.1
    assert codes.take(third) is None
    oldest = codes.make("/")
    newest = [codes.make("/") for _ in range(MOST)][-1]
    assert codes.take(oldest) is None
    assert codes.take(newest) == "/"


def test_an_open_page_keeps_an_embedded_server(
    live_server_factory: Factory, dist: Path, settings: pytest.MonkeyPatch
) -> None:
    server = live_server_factory("--embedded", "--idle-seconds", "1", "--web-dist", str(dist)).start()
    settings.setenv("MODELYARD_DATA_DIR", str(server.data))
    link = json_of("web")["url"]
    browser = Browser(link)
    browser.send("GET", path_of(link))
    with Watch(browser.origin, b"{}", **browser.sent()) as watch:
        assert watch.next()[0] == 0
        time.sleep(3)  # three times as long as it would live without the page
        assert server.exit_code is None
    assert server.wait() == 0


def test_a_start_does_not_load_the_http_server() -> None:
    code = "import sys, modelyard_server.app; sys.exit('uvicorn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_command_names_the_page_of_a_server(
    live_server_factory: Factory, dist: Path, settings: pytest.MonkeyPatch
) -> None:
    server = live_server_factory("--web-dist", str(dist))
    key = create_key(server, "ada")
    server.start()
    settings.setenv("MODELYARD_URL", server.url)
    settings.setenv("MODELYARD_API_KEY", key)
    settings.setenv("CI", "1")  # no browser
    assert json_of("web") == {"url": server.web_url}
    assert run_command("web").stdout == f"Open the page: {server.web_url}\n"
    assert f"Its page is at {server.web_url}\n" in run_command("info").stdout


def test_the_command_names_the_public_address(
    live_server_factory: Factory, settings: pytest.MonkeyPatch
) -> None:
    server = live_server_factory("--web-port", "0", "--web-url", "https://models.example.org/").start()
    settings.setenv("MODELYARD_URL", server.url)
    assert json_of("web", "--no-browser") == {"url": "https://models.example.org"}


def test_the_command_says_where_there_is_no_page(
    live_server_factory: Factory, live_server: LiveServer, tmp_path: Path, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("MODELYARD_URL", live_server.url)
    assert "has no page" in refused(1, "web")
    settings.delenv("MODELYARD_URL")
    server = live_server_factory("--embedded", "--web-dist", str(tmp_path)).start()
    settings.setenv("MODELYARD_DATA_DIR", str(server.data))
    assert "has no page" in refused(1, "web")


def test_the_command_opens_a_browser_where_there_is_one(private: LiveServer, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {shown}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "DISPLAY"}}
    environment |= {"BROWSER": str(program)}
    with_display = environment | {"DISPLAY": ":0"}
    cases = ((environment, ()), (with_display | {"CI": "1"}, ()), (with_display, ("--no-browser",)))
    for env, options in cases:
        done = run_python(*COMMAND, "web", *options, timeout=60, env=env)
        assert done.stdout.startswith("Open the page: http://127.0.0.1:")
        assert not shown.exists()
    done = run_python(*COMMAND, "web", timeout=60, env=with_display)
    assert done.stdout == f"The page is open in a browser: {shown.read_text()}\n"
    assert json.loads(run_python(*COMMAND, "web", "--json", timeout=60, env=with_display).stdout)["url"]
