"""Files of versions and runs over HTTP: whole and in parts, shown or saved, and what a hostile one does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from urllib.parse import quote, urlsplit

import pytest

from modelyard.v1 import run_file_pb2, run_pb2
from tests.clients import fast_upload
from tests.clients.waiting import until
from tests.http.browser import Browser
from tests.parts.server import Factory, LiveServer, Stubs, create_key, new_project

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 10
IMAGES = {
    "a.png": PNG,
    "b.JPG": b"\xff\xd8\xff\xe0" + b"pixels",
    "c.gif": b"GIF89a" + b"pixels",
    "d.webp": b"RIFF\x0a\0\0\0WEBPVP8 " + b"pixels",
}


def log(stubs: Stubs, files: dict[str, bytes]) -> str:
    """A version with files; its id."""
    chunks = {path: [data] if data else [] for path, data in files.items()}
    return str(fast_upload.log(stubs, new_project(), "files", chunks, type="model").version.id)


def address(version_id: str, path: str) -> str:
    return f"/files/version/{version_id}/{quote(path)}"


@pytest.fixture(scope="module")
def version(open_server: LiveServer) -> str:
    """A version with images, a text, an empty file and one whose content is not what its name says."""
    script = b"<script>alert(1)</script>"
    others = {"notes.txt": bytes(range(256)) * 1_000, "empty": b"", "page.html": script, "evil.png": script}
    return log(
        open_server.stubs(), IMAGES | others | {"model.svg": b"<svg onload=alert(1)>", "say.wav": b"RIFF"}
    )


def test_a_file_comes_back_byte_for_byte(open_server: LiveServer, version: str) -> None:
    response = Browser(open_server).get(address(version, "notes.txt"))
    assert response.status == 200
    assert response.body == bytes(range(256)) * 1_000
    assert response.headers["content-length"] == "256000"
    assert response.headers["accept-ranges"] == "bytes"
    empty = Browser(open_server).get(address(version, "empty"))
    assert (empty.status, empty.body, empty.headers["content-length"]) == (200, b"", "0")


def test_a_large_file_of_many_chunks_comes_back(open_server: LiveServer) -> None:
    stubs = open_server.stubs()
    chunks = fast_upload.random_chunks(30)
    made = fast_upload.log(stubs, new_project(), "large", {"weights": chunks}, type="model").version
    browser = Browser(open_server)
    assert browser.get(address(made.id, "weights")).body == b"".join(chunks)
    part = browser.get(address(made.id, "weights"), range="bytes=299990-600010")
    assert part.body == b"".join(chunks)[299_990:600_011]


def test_a_file_of_a_run_is_that_of_its_attempt(open_server: LiveServer) -> None:
    stubs = open_server.stubs()
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project()))
    run = stubs.runs.CreateRun(request).run
    for data in (b"old", PNG):
        header = run_file_pb2.RunFileHeader(run_id=run.id, path="media/pic 1.png")
        parts = [
            run_file_pb2.UploadRunFileRequest(header=header),
            run_file_pb2.UploadRunFileRequest(data=data),
        ]
        stubs.run_files.UploadRunFile(iter(parts), timeout=60)
    browser = Browser(open_server)
    found = browser.get(f"/files/run/{run.id}/1/media/pic%201.png")
    assert (found.status, found.body, found.headers["content-type"]) == (200, PNG, "image/png")
    assert browser.get(f"/files/run/{run.id}/1/media/pic%201.png", range="bytes=1-3").body == b"PNG"
    for wrong in ("2", "0", "-1", "x", "9" * 30):
        assert browser.get(f"/files/run/{run.id}/{wrong}/media/pic%201.png").status in {400, 404}, wrong


@pytest.mark.parametrize("path", sorted(IMAGES))
def test_images_are_shown_and_saved_if_asked(open_server: LiveServer, version: str, path: str) -> None:
    browser = Browser(open_server)
    shown = browser.get(address(version, path))
    assert shown.headers["content-type"].startswith("image/")
    assert shown.headers["content-disposition"].startswith("inline; ")
    saved = browser.get(f"{address(version, path)}?download=1")
    assert saved.headers["content-disposition"].startswith("attachment; ")


@pytest.mark.parametrize("path", ["notes.txt", "page.html", "evil.png", "model.svg", "say.wav"])
@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-3"}, {"range": "bytes=2-"}])
def test_everything_else_is_an_attachment_that_runs_nothing(
    open_server: LiveServer, version: str, path: str, headers: dict[str, str]
) -> None:
    response = Browser(open_server).get(address(version, path), **headers)
    assert response.status == (206 if headers else 200)
    assert response.headers["content-disposition"].startswith("attachment; ")
    assert response.headers["content-type"] in {"application/octet-stream", "audio/wav"}
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("wanted", "status", "content_range", "body"),
    [
        ("bytes=0-3", 206, "bytes 0-3/68", PNG[:4]),
        ("bytes=62-", 206, "bytes 62-67/68", PNG[62:]),
        ("bytes=62-999", 206, "bytes 62-67/68", PNG[62:]),
        ("bytes=-6", 206, "bytes 62-67/68", PNG[62:]),
        ("bytes=-999", 206, "bytes 0-67/68", PNG),
        ("bytes=67-67", 206, "bytes 67-67/68", PNG[67:]),
        ("bytes=68-", 416, "bytes */68", b""),
        ("bytes=-0", 416, "bytes */68", b""),
        ("bytes=9-3", 200, None, PNG),
        ("bytes=0-1,4-5", 200, None, PNG),
        ("bytes=-", 200, None, PNG),
        ("lines=0-3", 200, None, PNG),
        (f"bytes=0-{'9' * 40}", 200, None, PNG),
    ],
)
def test_one_range_is_sent_as_asked(
    open_server: LiveServer, version: str, wanted: str, status: int, content_range: str | None, body: bytes
) -> None:
    assert len(PNG) == 68
    response = Browser(open_server).get(address(version, "a.png"), range=wanted)
    assert (response.status, response.headers.get("content-range")) == (status, content_range)
    assert response.body == body
    if status == 206:
        assert response.headers["content-type"] == "image/png"


def test_what_the_browser_has_is_not_sent_again(open_server: LiveServer, version: str) -> None:
    browser = Browser(open_server)
    etag = browser.get(address(version, "a.png")).headers["etag"]
    same = browser.get(address(version, "a.png"), if_none_match=etag)
    assert (same.status, same.body) == (304, b"")
    assert browser.get(address(version, "b.JPG"), if_none_match=etag).status == 200
    assert browser.get(address(version, "a.png"), range="bytes=0-3", if_range=etag).status == 206
    assert browser.get(address(version, "a.png"), range="bytes=0-3", if_range='"older"').body == PNG


def test_head_has_the_headers_of_get_and_no_bytes(open_server: LiveServer, version: str) -> None:
    browser = Browser(open_server)
    for path in ("a.png", "notes.txt", "empty"):
        got, head = browser.get(address(version, path)), browser.send("HEAD", address(version, path))
        assert (head.status, head.body) == (200, b"")
        for name in ("content-length", "etag", "content-type", "content-disposition"):
            assert head.headers[name] == got.headers[name], path


@pytest.mark.parametrize(
    "name",
    [
        'a"; filename="b.exe',
        "naïve – 模型.bin",
        "back\\slash%41.txt",
        "'; x",
        "😀.png",
    ],
)
def test_a_name_stays_a_name(open_server: LiveServer, name: str) -> None:
    version_id = log(open_server.stubs(), {f"deep/{name}": b"content"})
    response = Browser(open_server).get(address(version_id, f"deep/{name}"))
    assert (response.status, response.body) == (200, b"content")
    disposition = response.headers["content-disposition"]
    assert "set-cookie" not in response.headers
    assert disposition.isascii()
    assert disposition.isprintable()
    parsed = Message()
    parsed["content-disposition"] = disposition
    assert parsed.get_content_disposition() == "attachment"
    extended = disposition.partition("filename*=")[2]
    assert extended == f"UTF-8''{quote(name, safe='!#$&+-.^_`|~')}"
    assert ";" not in extended


@pytest.mark.parametrize(
    "path",
    [
        "/files/",
        "/files/version",
        "/files/version/",
        "/files/version/{id}",
        "/files/version/{id}/",
        "/files/version/{id}/missing",
        "/files/version/{id}/../../../etc/passwd",
        "/files/version/{id}/..%2f..%2f..%2fetc%2fpasswd",
        "/files/version/{id}//etc/passwd",
        "/files/version/{id}/%00",
        "/files/version/not-an-id/notes.txt",
        "/files/version/..%2f{id}/notes.txt",
        "/files/run/{id}/1/notes.txt",
        "/files/other/{id}/notes.txt",
        "/files/version/{id}/" + "x/" * 40,
        "/files/version/{id}/" + "x" * 3_000,
    ],
)
def test_no_path_leads_to_anything_but_files_of_versions_and_runs(
    open_server: LiveServer, version: str, path: str
) -> None:
    response = Browser(open_server).get(path.format(id=version))
    assert response.status in {400, 404}, response
    assert b"root:" not in response.body
    assert response.headers["content-type"].startswith("text/plain")


def test_a_file_is_only_for_those_who_may_read_it(closed_server: LiveServer, acme_key: str) -> None:
    stubs = closed_server.stubs(create_key(closed_server, "owner", "--entity", "owners"))
    place = address(log(stubs, {"f.png": PNG}), "f.png")
    browser = Browser(closed_server)
    assert browser.get(place).status == 401
    browser.sign_in(acme_key)
    assert browser.get(place).status == 404
    browser.sign_in(create_key(closed_server, "colleague", "--entity", "owners"))
    assert browser.get(place).body == PNG
    image_of_another_site = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert browser.send("GET", place, **image_of_another_site).status == 403
    assert browser.send("GET", place, host="evil.example").status == 421
    assert browser.send("POST", place, sec_fetch_site="same-origin").status == 405


@contextmanager
def slow_reader(server: LiveServer, path: str) -> Iterator[socket.socket]:
    """A client that has asked for a file and reads nothing yet."""
    place = urlsplit(server.web_url)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        raw.settimeout(60)
        raw.connect((place.hostname, place.port))
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        yield raw


LARGE = 40 << 20


def log_large(server: LiveServer) -> str:
    """The address of a file that fits no buffer on the way."""
    chunks = fast_upload.random_chunks(20, 1 << 20) * 2
    made = fast_upload.log(server.stubs(), new_project(), "large", {"large": chunks}, type="model")
    return address(made.version.id, "large")


def test_a_client_that_does_not_read_is_cut_off(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0", "--stall-seconds", "1").start()
    with slow_reader(server, log_large(server)) as raw:
        until(lambda: "STREAM_STALLED" in server.log.read_text())
        received = 0
        while data := raw.recv(1 << 20):
            received += len(data)
        assert received < LARGE


def test_a_client_that_disconnects_frees_its_place(live_server_factory: Factory) -> None:
    options = ("--download-streams", "1", "--stream-share", "100")
    server = live_server_factory("--web-port", "0", *options).start()
    place = log_large(server)
    browser = Browser(server)
    with slow_reader(server, place) as raw:
        assert raw.recv(1)
        assert browser.get(place, range="bytes=0-0").status == 429
    until(lambda: browser.get(place, range="bytes=0-0").status == 206)
