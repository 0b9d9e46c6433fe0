"""An HTTP/2 server written frame by frame: it resets streams with codes that a test chooses, then answers."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Self

_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING = 0, 1, 3, 4, 6
_ACK = _END_STREAM = 1
_END_HEADERS = 4


def _header(name: bytes, value: bytes) -> bytes:
    """A header of HPACK that needs no table."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


_BEGIN = _header(b":status", b"200") + _header(b"content-type", b"application/grpc")
_END = _header(b"grpc-status", b"0")
_EMPTY_MESSAGE = bytes(5)


class ResettingServer:
    """Resets the first streams, each with one of `codes`; answers later ones with an empty message.

    An empty message is a valid reply of every method. With `silent` nothing is
    answered. `streams` counts the streams that clients opened.
    """

    def __init__(self, codes: Sequence[int] = (), *, silent: bool = False) -> None:
        self.streams = 0
        self._codes = list(codes)
        self._silent = silent
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError), client.makefile("rb") as received:
            _exactly(received, _PREFACE)
            _send(client, _SETTINGS)
            while True:
                head = _exactly(received, 9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF
                content = _exactly(received, int.from_bytes(head[:3]))
                if kind in {_SETTINGS, _PING} and not flags & _ACK:
                    _send(client, kind, _ACK, content=content if kind == _PING else b"")
                if kind == _HEADERS:
                    self.streams += 1
                    self._answer(client, stream)

    def _answer(self, client: socket.socket, stream: int) -> None:
        if self._silent:
            return
        if self._codes:
            _send(client, _RST_STREAM, stream=stream, content=struct.pack(">I", self._codes.pop(0)))
            return
        _send(client, _HEADERS, _END_HEADERS, stream, _BEGIN)
        _send(client, _DATA, 0, stream, _EMPTY_MESSAGE)
        _send(client, _HEADERS, _END_HEADERS | _END_STREAM, stream, _END)


def _send(client: socket.socket, kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> None:
    client.sendall(len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content)


def _exactly(received: BinaryIO, size: int) -> bytes:
    data = received.read(size)
    if len(data) < size:
        raise EOFError
    return data
