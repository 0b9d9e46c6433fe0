"""A TCP proxy that drops replies, stalls or cuts connections on request."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_PIECE = 1 << 16


class TcpProxy:
    """Listens on a port of 127.0.0.1, 0: a free one, and passes bytes on to the port `target`, both ways."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self.lose_replies = False
        """What the server sends is read and thrown away."""
        self.lose_reply_to: bytes | None = None
        """A connection whose client sends these bytes gets no replies from then on; None: all get them."""
        self.silent = False
        """Nothing passes either way, and nothing is closed, as when a cable is pulled."""
        self.cut_after: Callable[[], int] | None = None
        """How many bytes of its client a new connection passes on before it is cut; None: as many as come."""
        self.cut_in_reply: int | None = None
        """How many more bytes of replies pass, over all connections, before that connection is cut.

        None: no limit; it is None again after that cut. For a cut in the middle of a reply:
        `cut` may come when all of it is in buffers on its way.
        """
        self.hold_after: int | None = None
        """How many bytes of its clients, over all connections, pass before nothing passes until `release`.

        None: no limit. What is held is not lost, as where a network is slow.
        """
        self.bytes_per_second: float | None = None
        """How fast a connection passes on what its client sends; None: as fast as it can."""
        self.received = 0
        """Bytes that clients sent so far, also those thrown away."""
        self.accepted = 0
        """Connections so far."""
        self._open: list[socket.socket] = []
        self._released = threading.Event()
        self._counting = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.release()
        self.cut()

    @property
    def is_holding(self) -> bool:
        """Whether it holds what a client sent."""
        return self.hold_after is not None and self.received > self.hold_after

    def release(self) -> None:
        """Passes on what is held, and from then on everything."""
        self.hold_after = None
        self._released.set()

    def cut(self) -> None:
        """Ends all connections that are open now."""
        while self._open:
            _end(self._open.pop())

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the proxy ends
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:  # the server is down: the proxy refuses connections, too
                _end(client)
                continue
            self._open += [client, server]
            is_lost = threading.Event()
            for source, sink, is_reply in ((client, server, False), (server, client, True)):
                arguments = (source, sink, is_reply, is_lost)
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, is_reply: bool, is_lost: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):  # cut, here or by either side
            left = self.cut_after() if self.cut_after is not None and not is_reply else None
            while (left is None or left > 0) and (data := source.recv(_PIECE)):
                if not is_reply:
                    self.received += len(data)
                    if self.lose_reply_to is not None and self.lose_reply_to in data:
                        is_lost.set()
                    if self.is_holding:
                        self._released.wait()
                if not self.silent and not (is_reply and (self.lose_replies or is_lost.is_set())):
                    left = self._left_of_reply(len(data)) if is_reply else left
                    sink.sendall(data[:left])
                left = None if left is None else left - len(data)
                if self.bytes_per_second and not is_reply:
                    time.sleep(len(data) / self.bytes_per_second)
        _end(source)
        _end(sink)

    def _left_of_reply(self, size: int) -> int | None:
        """How many of the next `size` bytes of a reply pass before its connection is cut; None: it is not."""
        with self._counting:
            if self.cut_in_reply is None:
                return None
            if self.cut_in_reply > size:
                self.cut_in_reply -= size
                return None
            left, self.cut_in_reply = self.cut_in_reply, None
            return left


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
