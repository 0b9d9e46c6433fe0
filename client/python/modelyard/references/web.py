"""`http://` and `https://`. The tag is the ETag; without one Last-Modified, without both the URL itself."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from modelyard.contract import errors
from modelyard.references.store import Body, Target, changed
from modelyard.version import __version__

_SECONDS = 60.0
_GONE = {404, 410}
_NO_HEAD = {403, 405, 501}  # 403: for links that are signed for GET only


class Web:
    """One object for each URL."""

    def name_of(self, uri: str) -> str:
        """The last part of the URL's path."""
        name = unquote(urlsplit(uri).path.rstrip("/").rpartition("/")[2])
        if not name:
            raise ValueError(f"{uri!r} has no path that could name the entry: name= is needed")
        return name

    def find(self, uri: str, limit: int) -> list[Target]:
        """The object, by HEAD; by GET without reading the body where HEAD is refused."""
        try:
            response = _request(uri, "HEAD")
        except _Status as error:
            if error.status not in _NO_HEAD:
                raise
            response = _request(uri, "GET")
        with response:
            return [Target("", uri, _size(response), _tags(response, uri)[0])]

    @contextmanager
    def opened(self, uri: str, tag: str) -> Iterator[Body]:
        """The object, checked by the headers of the reply that has the bytes."""
        with _request(uri, "GET") as response:
            tags = _tags(response, uri)
            if tag and tag not in tags:
                raise changed(uri, tag, tags[0])
            try:
                yield _Reply(response)
            except http.client.HTTPException as error:
                raise ConnectionError(f"{uri}: {error}") from error


class _Reply:
    def __init__(self, response: Any) -> None:
        self._response = response
        self.size = _size(response)

    def read(self, size: int) -> bytes:
        data: bytes = self._response.read(size)
        return data


class _Status(errors.Error):
    def __init__(self, uri: str, status: int, reason: str) -> None:
        super().__init__(f"{uri}: the server says {status} {reason}")
        self.status = status


def _opener() -> urllib.request.OpenerDirector:
    # Not urllib's default handlers, which follow redirects to ftp://.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _request(uri: str, method: str) -> Any:
    if "@" in urlsplit(uri).netloc:
        raise ValueError("a reference is kept as it is written: take user and password out of the URL")
    request = urllib.request.Request(
        quote(uri, safe="%/:=&?~#+!$,;'@()*[]"),
        method=method,
        headers={"User-Agent": f"modelyard/{__version__}", "Accept-Encoding": "identity"},
    )
    try:
        return _opener().open(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _GONE:
            raise errors.ReferenceMissing(f"there is nothing at {uri} ({error.code})") from None
        if error.code >= 500 and error.code not in _NO_HEAD:
            raise ConnectionError(f"{uri}: the server says {error.code} {error.reason}") from None
        raise _Status(uri, error.code, str(error.reason)) from None
    except (urllib.error.URLError, http.client.HTTPException) as error:
        raise ConnectionError(f"{uri}: {getattr(error, 'reason', error)}") from error


def _size(response: Any) -> int | None:
    length = response.headers.get("Content-Length", "")
    # With a content encoding it is the encoded size.
    return int(length) if length.isdigit() and not response.headers.get("Content-Encoding") else None


def _tags(response: Any, uri: str) -> list[str]:
    """The possible tags of a reply, the best first."""
    headers = response.headers
    return [tag for tag in (headers.get("ETag"), headers.get("Last-Modified")) if tag] + [uri]
