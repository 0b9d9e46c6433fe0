"""A web server with replies that tests set: `site.put("/a", b"…", ETag='"1"')`."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Page:
    """What a path answers. `cut` bytes of the body are not sent, `fail` times it is a 503."""

    body: bytes
    headers: dict[str, str]
    status: int = 200
    cut: int = 0
    fail: int = 0


@dataclass
class Site:
    """A running server; `asked` lists method and path of every request."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def put(self, path: str, body: bytes, status: int = 200, **headers: str) -> Page:
        """Sets what a path answers; `Last_Modified` is the header Last-Modified."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = Page(body, named, status)
        return self.pages[path]


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.site.asked.append((self.command, self.path))
        page = self.site.pages.get(self.path) or Page(b"", {}, 404)
        status = page.status
        if page.fail:
            page.fail -= 1
            status = 503
        self.send_response(status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(page.body[: len(page.body) - page.cut])
            page.cut = page.cut if status != page.status else 0

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: the requests are in `site.asked`."""


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on a free port; nothing is there at first."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    found = Site(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"site": found})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()
