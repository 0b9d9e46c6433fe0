"""A browser as the server sees one: cookies, and the headers that say which page makes a request."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.parts.server import LiveServer

JSON = {"content-type": "application/json"}
RUNS = "/modelyard.v1.RunService"


@dataclass(frozen=True)
class Response:
    """What came back; names of headers are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Browser:
    """A user's browser that shows a page of this server, or of the one at an address."""

    def __init__(
        self, server: LiveServer | str, *, source: str = "", context: ssl.SSLContext | None = None
    ) -> None:
        self._address = urlsplit(server if isinstance(server, str) else server.web_url)
        self._source = (source, 0) if source else None
        self._context = context
        self.cookies: dict[str, str] = {}

    @property
    def origin(self) -> str:
        """Of the page."""
        return f"{self._address.scheme}://{self._address.netloc}"

    @property
    def place(self) -> str:
        """The server's host and port."""
        return self._address.netloc

    def sent(self) -> dict[str, str]:
        """The headers of the page's requests."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"cookie": cookies, "sec-fetch-site": "same-origin", "origin": self.origin}

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        """Sends exactly these headers (`sec_fetch_site` is `sec-fetch-site`), `host` and the cookies."""
        host, port = self._address.hostname or "", self._address.port
        if self._context is not None:
            open_: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=20, context=self._context
            )
        else:
            open_ = http.client.HTTPConnection(host, port, timeout=20, source_address=self._source)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies and "cookie" not in given:
            given["cookie"] = self.sent()["cookie"]
        try:
            open_.request(method, path, body or None, given)
            response = open_.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            self._keep(found.get("set-cookie"))
            return Response(response.status, found, response.read())
        finally:
            open_.close()

    def get(self, path: str, **headers: str) -> Response:
        """A request of the page."""
        return self.send("GET", path, sec_fetch_site="same-origin", **headers)

    def post(self, path: str, content: object, **headers: str) -> Response:
        """A request of the page with JSON."""
        given = {"content-type": "application/json", "sec-fetch-site": "same-origin", "origin": self.origin}
        return self.send("POST", path, json.dumps(content).encode(), **{**given, **headers})

    def sign_in(self, key: str, **headers: str) -> Response:
        """Signs in with an API key."""
        return self.post("/session", {"key": key}, **headers)

    def create_run(self, project: str, **headers: str) -> Response:
        """A write."""
        return self.post(f"{RUNS}/CreateRun", {"run": {"entity": "acme", "project": project}}, **headers)

    def runs(self, project: str, **headers: str) -> Response:
        """The runs of a project."""
        return self.post(f"{RUNS}/ListRuns", {"entity": "acme", "project": project}, **headers)

    def _keep(self, cookie: str | None) -> None:
        if cookie is None:
            return
        name, _, value = cookie.partition(";")[0].partition("=")
        if value:
            self.cookies[name] = value
        else:
            self.cookies.pop(name, None)
