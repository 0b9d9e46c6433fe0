"""Serves the built page: its assets by their names, and `index.html` for every address within it.

The assets are read once, so that no path of a request is ever one of a file.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from modelyard_server.web import asgi, connect_messages
from modelyard_server.web.asgi import Headers, Receive, Scope, Send

INDEX = "index.html"
NOT_BUILT = "modelyard serves calls here; this build has no page (see docs/calling.md)"
_TYPES = mimetypes.MimeTypes()  # those of Python, whatever the machine has
_CACHE_CONTROL = "no-cache"
"""Names are stable, so browsers ask each time; the answer is 304 unless the content changed."""


@dataclass(frozen=True)
class _Asset:
    content: bytes
    compressed: bytes
    media_type: str
    etag: str


class Site:
    """An ASGI application for the page that was built into a folder. There may be none."""

    def __init__(self, folder: Path) -> None:
        files = [path for path in folder.rglob("*") if path.is_file()]
        self._assets = {f"/{path.relative_to(folder).as_posix()}": _read(path) for path in files}
        self._index = self._assets.get(f"/{INDEX}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in asgi.SAFE_METHODS:
            await asgi.answer_text(send, 405, "only GET and HEAD", [("allow", "GET, HEAD")])
        elif self._index is None:
            await asgi.answer_text(send, 404, NOT_BUILT)
        elif asset := self._assets.get(scope["path"], None if _is_file(scope["path"]) else self._index):
            await _send(asset, scope, send)
        else:
            await asgi.answer_text(send, 404, "no such file")


def _is_file(path: str) -> bool:
    """Whether a path looks like that of an asset: such a one is missing instead of being a page."""
    return path.count("/") == 1 and _TYPES.guess_type(path)[0] is not None


def _read(path: Path) -> _Asset:
    content = path.read_bytes()
    media_type = _TYPES.guess_type(path.name)[0] or "application/octet-stream"
    if media_type.startswith("text/"):
        media_type += "; charset=utf-8"
    etag = hashlib.sha256(content).hexdigest()[:32]
    return _Asset(content, gzip.compress(content, mtime=0), media_type, etag)


async def _send(asset: _Asset, scope: Scope, send: Send) -> None:
    headers = asgi.headers_of(scope)
    is_compressed = len(asset.compressed) < len(asset.content) and connect_messages.takes_gzip(
        asgi.first(headers, "accept-encoding")
    )
    etag = f'"{asset.etag}-gzip"' if is_compressed else f'"{asset.etag}"'
    shared: Headers = [("etag", etag), ("cache-control", _CACHE_CONTROL), ("vary", "accept-encoding")]
    if asgi.matches_etag(headers, etag):
        await asgi.begin(send, 304, shared)
        await send({"type": "http.response.body"})
        return
    shared.append(("content-type", asset.media_type))
    if is_compressed:
        shared.append(("content-encoding", "gzip"))
    body = asset.compressed if is_compressed else asset.content
    await asgi.answer(send, 200, body, shared, is_head=scope["method"] == "HEAD")
