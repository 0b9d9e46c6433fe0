"""Sends files of versions and runs: `/files/version/ID/PATH` and `/files/run/ID/ATTEMPT/PATH`.

The bytes come from the pipeline's DownloadFile and DownloadRunFile, with the
rights of the caller. Only images whose content is what their name says are shown;
everything else is an attachment, and so are images with `?download=1`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

from google.protobuf.message import Message

from modelyard.contract import errors
from modelyard.v1 import model_artifact_pb2, run_file_pb2
from modelyard_server.rpc.dispatch import statuses
from modelyard_server.rpc.dispatch.pipeline import Pipeline
from modelyard_server.web import asgi, connect_messages
from modelyard_server.web.asgi import Headers, Receive, Scope, Send

PREFIX = "/files/"
IMAGES = {
    "png": ("image/png", re.compile(rb"\x89PNG\r\n\x1a\n")),
    "jpg": ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    "jpeg": ("image/jpeg", re.compile(rb"\xff\xd8\xff")),
    "gif": ("image/gif", re.compile(rb"GIF8[79]a")),
    "webp": ("image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL)),
}
"""What is shown, by the ending of the name: its media type, and how its content begins."""
PLAYED = {
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "webm": "video/webm",
}
"""Media types of attachments that the page's players take."""
POLICY = "default-src 'none'; sandbox"
"""Of a file that is opened by its address: nothing in it runs, or is loaded by it."""
_SNIFFED_BYTES = 16
_FILENAME_SAFE = "!#$&+-.^_`|~"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_DIGITS = 18
_ATTEMPT_DIGITS = 9


class _Info(NamedTuple):
    size: int
    digest: str


@dataclass(frozen=True)
class _Source:
    """A file: the method that sends it, and what its messages mean."""

    method: str
    path: str
    request: Callable[[int, int | None], Message]
    """The request for the bytes from an offset on, of a length or all."""
    reply: Callable[[bytes], Any]
    info: Callable[[Any], _Info]
    """Of the first reply; the others have bytes."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class _Part(NamedTuple):
    """The bytes of a file that are wanted: from `first` up to before `end`."""

    first: int
    end: int


class _Unsatisfiable(Exception):
    """A range that has no byte of the file."""


class Files:
    """An ASGI application for the paths below PREFIX."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in asgi.SAFE_METHODS:
            await asgi.answer_text(send, 405, "only GET and HEAD", [("allow", "GET, HEAD")])
            return
        source = _source(scope["path"])
        if source is None:
            await asgi.answer_text(send, 404, "no such file")
            return
        response = _Response(source, scope, send)
        try:
            async with asgi.until_disconnected(receive):
                await self._send(source, response, scope)
        except errors.CommError as error:
            if not response.has_begun:
                status = connect_messages.HTTP_STATUSES[statuses.status_of(error).code]
                await asgi.answer_text(send, status, error.message)
            return  # a response without its end tells the client that bytes are missing
        except asgi.Disconnected:
            return
        await response.end()

    async def _send(self, source: _Source, response: _Response, scope: Scope) -> None:
        if response.needs_info:
            # A task of its own: a call holds its place among the streams until its task ends.
            await asyncio.create_task(self._call(source, scope, (0, _SNIFFED_BYTES), response.look))
            await asyncio.sleep(0)  # now the callbacks of that task, which free its place, have run
            if await response.is_answered_without_bytes():
                return
        await self._call(source, scope, response.bounds, response.take)

    async def _call(
        self,
        source: _Source,
        scope: Scope,
        bounds: tuple[int, int | None],
        take: Callable[[bytes], Awaitable[None]],
    ) -> None:
        caller = await self._pipeline.admit(source.method, asgi.headers_of(scope), scope[asgi.SESSION])
        endpoint = self._pipeline.endpoints[source.method]
        await self._pipeline.stream(endpoint, caller, source.request(*bounds), take)


class _Response:
    """What is sent of a file, as its messages arrive."""

    def __init__(self, source: _Source, scope: Scope, send: Send) -> None:
        self._source = source
        self._headers = asgi.headers_of(scope)
        self._is_head = scope["method"] == "HEAD"
        self._as_attachment = parse_qs(scope["query_string"].decode("latin-1")).get("download") == ["1"]
        self._send = send
        self._info: _Info | None = None
        self._part: _Part | None = None
        self._beginning = b""
        self.has_begun = False

    @property
    def needs_info(self) -> bool:
        """Whether size and digest of the file decide what is sent."""
        names = ("if-none-match", "range")
        return self._is_head or any(asgi.first(self._headers, name) for name in names)

    @property
    def bounds(self) -> tuple[int, int | None]:
        """Offset and length of what is wanted; None: to the end."""
        return (0, None) if self._part is None else (self._part.first, self._part.end - self._part.first)

    async def look(self, message: bytes) -> None:
        """Takes a message of a call for the first bytes of the file."""
        self._beginning += self._data_of(message)

    async def is_answered_without_bytes(self) -> bool:
        """Begins the response if it has no bytes; else notes which are wanted."""
        assert self._info is not None
        if asgi.matches_etag(self._headers, self._etag):
            await self._begin(304, self._validators())
        elif self._is_head:
            await self._begin(200, self._of_content(self._info.size))
        else:
            try:
                self._part = self._wanted_part(self._info.size)
            except _Unsatisfiable:
                nothing = [("content-range", f"bytes */{self._info.size}"), ("content-length", "0")]
                await self._begin(416, nothing)
        return self.has_begun

    async def take(self, message: bytes) -> None:
        """Takes a message of the call for what is wanted, and sends its bytes."""
        data = self._data_of(message)
        if data:
            self._beginning = self._beginning or data[:_SNIFFED_BYTES]
            await self._begin_content()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """Ends the response. That of an empty file begins here."""
        await self._begin_content()
        await self._send({"type": "http.response.body"})

    def _data_of(self, message: bytes) -> bytes:
        reply = self._source.reply(message)
        info = self._source.info(reply)
        if self._info is None:
            self._info = info
        elif info.digest not in {"", self._info.digest}:
            raise errors.RetryTransaction("the file was replaced meanwhile; repeat the request")
        data: bytes = reply.data
        return data

    def _wanted_part(self, size: int) -> _Part | None:
        text = asgi.first(self._headers, "range")
        if asgi.first(self._headers, "if-range") in {"", self._etag}:
            return _part(text, size)
        return None

    async def _begin_content(self) -> None:
        if self.has_begun:
            return
        assert self._info is not None
        size, part = self._info.size, self._part
        if part is None:
            await self._begin(200, self._of_content(size))
        else:
            there = ("content-range", f"bytes {part.first}-{part.end - 1}/{size}")
            await self._begin(206, [*self._of_content(part.end - part.first), there])

    async def _begin(self, status: int, headers: Headers) -> None:
        self.has_begun = True
        await asgi.begin(self._send, status, [*headers, ("content-security-policy", POLICY)])

    @property
    def _etag(self) -> str:
        assert self._info is not None
        return f'"{self._info.digest}"'

    def _validators(self) -> Headers:
        return [("etag", self._etag), ("cache-control", "private, no-cache")]

    def _of_content(self, length: int) -> Headers:
        name = self._source.name
        media_type, is_shown = _kind(name, self._beginning)
        disposition = "inline" if is_shown and not self._as_attachment else "attachment"
        return [
            *self._validators(),
            ("accept-ranges", "bytes"),
            ("content-length", str(length)),
            ("content-type", media_type),
            ("content-disposition", f"{disposition}; {_filename(name)}"),
        ]


def _source(path: str) -> _Source | None:
    """The file that a path names; None if it cannot be one."""
    kind, _, rest = path.removeprefix(PREFIX).partition("/")
    if kind == "version":
        id_, _, name = rest.partition("/")
        return _of_version(id_, name) if id_ and name else None
    if kind == "run":
        id_, _, rest = rest.partition("/")
        attempt, _, name = rest.partition("/")
        is_number = attempt.isascii() and attempt.isdigit() and 1 <= len(attempt) <= _ATTEMPT_DIGITS
        return _of_run(id_, int(attempt), name) if id_ and name and is_number else None
    return None


def _of_version(id_: str, path: str) -> _Source:
    return _Source(
        "/modelyard.v1.ModelArtifactService/DownloadFile",
        path,
        lambda offset, length: model_artifact_pb2.DownloadFileRequest(
            id=id_, path=path, offset=offset, length=length
        ),
        model_artifact_pb2.DownloadFileResponse.FromString,
        lambda reply: _Info(reply.size_bytes, reply.digest),
    )


def _of_run(id_: str, attempt: int, path: str) -> _Source:
    return _Source(
        "/modelyard.v1.RunFileService/DownloadRunFile",
        path,
        lambda offset, length: run_file_pb2.DownloadRunFileRequest(
            run_id=id_, attempt=attempt, path=path, offset=offset, length=length
        ),
        run_file_pb2.DownloadRunFileResponse.FromString,
        lambda reply: _Info(reply.file.size_bytes, reply.file.digest),
    )


def _part(text: str, size: int) -> _Part | None:
    """The part that `range` names; None for the whole file, and for what is not one range of bytes.

    Raises _Unsatisfiable.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None or not any(found.groups()) or any(len(digits) > _DIGITS for digits in found.groups()):
        return None
    first, last = found.groups()
    if not first:
        part = _Part(max(0, size - int(last)), size)
    else:
        part = _Part(int(first), min(int(last) + 1, size) if last else size)
        if last and int(last) < int(first):
            return None
    if part.first >= part.end:
        raise _Unsatisfiable
    return part


def _kind(name: str, beginning: bytes) -> tuple[str, bool]:
    """The media type that a file is sent with, and whether it may be shown."""
    ending = name.rpartition(".")[2].lower()
    media_type, magic = IMAGES.get(ending, ("", None))
    if magic is not None and magic.match(beginning):
        return media_type, True
    return PLAYED.get(ending, "application/octet-stream"), False


def _filename(name: str) -> str:
    """The parameters that name a file, for all browsers (RFC 6266): plain letters, and exactly."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_"
        for letter in name
    )
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_FILENAME_SAFE, errors='replace')}"
