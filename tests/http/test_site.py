"""The built page: what is served under which address."""

from __future__ import annotations

import gzip
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.http.browser import Browser
from tests.http.conftest import INDEX, SCRIPT
from tests.parts.server import Factory, LiveServer


@pytest.mark.parametrize(
    "path",
    ["/", "/registry", "/registry/model/Churn", "/acme/digits/artifacts?type=model", "/acme/a.b/runs/r1.v2"],
)
def test_every_address_of_the_page_is_the_page(open_server: LiveServer, path: str) -> None:
    response = Browser(open_server).get(path)
    assert (response.status, response.body) == (200, INDEX)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"


def test_an_asset_is_sent_once_and_then_only_compared(open_server: LiveServer) -> None:
    browser = Browser(open_server)
    first = browser.get("/app.js")
    assert (first.status, first.body) == (200, SCRIPT)
    assert "javascript" in first.headers["content-type"]
    again = browser.get("/app.js", if_none_match=f'"other", {first.headers["etag"]}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert browser.get("/app.js", if_none_match='"other"').body == SCRIPT


def test_an_asset_is_compressed_for_those_who_take_it(open_server: LiveServer) -> None:
    browser = Browser(open_server)
    packed = browser.get("/app.js", accept_encoding="gzip, br")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert gzip.decompress(packed.body) == SCRIPT
    plain = browser.get("/app.js", accept_encoding="gzip;q=0")
    assert plain.body == SCRIPT
    assert plain.headers["etag"] != packed.headers["etag"]


def test_head_has_the_headers_of_get_and_no_body(open_server: LiveServer) -> None:
    browser = Browser(open_server)
    there, head = browser.get("/app.js"), browser.send("HEAD", "/app.js")
    assert (head.status, head.body) == (200, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == there.headers[name]


def test_a_missing_asset_is_not_the_page(open_server: LiveServer) -> None:
    assert Browser(open_server).get("/favicon.ico").status == 404
    assert Browser(open_server).send("DELETE", "/app.js").status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/a/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%5csecret.txt",
        "/..\\secret.txt",
        "//secret.txt",
        "/app.js%00.html",
        "/%00",
        "/./app.css/..%2f..%2fsecret.txt",
        "http://elsewhere/../secret.txt",
        "*",
    ],
)
def test_a_path_never_leads_out_of_the_page(open_server: LiveServer, path: str) -> None:
    address = urlsplit(open_server.web_url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
        reply = b""
        while data := raw.recv(1 << 16):
            reply += data
    head, _, body = reply.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"not of the page" not in reply
    assert (status == 200 and body == INDEX) or status in {400, 404}, reply


def test_a_build_without_a_page_says_so(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory("--web-port", "0", "--web-dist", str(tmp_path)).start()
    response = Browser(server).get("/")
    assert response.status == 404
    assert b"this build has no page" in response.body
    assert Browser(server).create_run("p").status == 200
