"""The HTTP port of a server: open from the start, or once the folder's owner asks for a link to the page."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from collections.abc import Callable

from modelyard.contract import errors
from modelyard_server.process.serving import Listener
from modelyard_server.settings import Settings, StartError
from modelyard_server.web.codes import Codes

OPEN = "/open"
"""The path of a link: it signs in whoever has its code."""
START_SECONDS = 20.0
_PATH = re.compile(r"/([!-.0-~][!-~]*)?")
"""A path of this server, as it stands in a URL: not `//`, behind which browsers take a name for a host."""
_EVERYWHERE = {"0.0.0.0", "::"}

log = logging.getLogger(__name__)


class Page:
    """The page of a server.

    Services ask it for its address and for links before there is anything to serve: `bind` gives it
    what makes the listener of a port.
    """

    def __init__(self, settings: Settings) -> None:
        self.codes = Codes()
        self._settings = settings
        self._listener: Listener | None = None
        self._opening = threading.Lock()

    def bind(self, listen: Callable[[int], Listener], opened: Callable[[str], None]) -> None:
        """Binds the port that the settings name. Raises StartError; call it on the event loop.

        A default port that another process has is a warning. `opened` gets the page's address when
        the port is opened later.
        """
        self._listen = listen
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        port, default = self._settings.web_port, self._settings.default_web_port
        if port is not None:
            self._listener = listen(port)
        elif default is not None:
            try:
                self._listener = listen(default)
            except StartError as error:
                log.warning("%s; without it the page is not served", error)

    async def start(self) -> None:
        """Begins to serve, if the port is open."""
        if self._listener is not None:
            await self._listener.start()

    async def stop(self, drain_seconds: float) -> None:
        """Ends, after what is served or the given time."""
        if self._listener is not None:
            await self._listener.stop(drain_seconds)

    @property
    def port(self) -> int | None:
        """The port that it listens on; None for none."""
        return None if self._listener is None else self._listener.port

    @property
    def url(self) -> str:
        """Where browsers find the page; empty without one."""
        if self.port is None:
            return ""
        here = None if self._settings.host not in _EVERYWHERE else socket.gethostname()
        return self._settings.web_url.rstrip("/") or self._settings.web_address(self.port, host=here)

    def link(self, path: str = "/") -> str:
        """A link that signs in once, as the folder's owner, and leads to a path of the page.

        An embedded server opens its port for it. Call it on another thread than the event loop's.
        Errors: Unimplemented without a page; InvalidField.
        """
        if not _PATH.fullmatch(path) or "\\" in path:
            raise errors.InvalidField.of("path", "expected the path of a view: /, then printable ASCII")
        with self._opening:
            if self._listener is None and self._settings.embedded and self._settings.has_page:
                listener = self._listen(0)
                asyncio.run_coroutine_threadsafe(listener.start(), self._loop).result(START_SECONDS)
                self._listener = listener
                self._opened(self.url)
        if self._listener is None:
            raise errors.Unimplemented(_no_page(self._settings))
        return f"{self.url}{OPEN}?code={self.codes.make(path)}"


def _no_page(settings: Settings) -> str:
    if not settings.has_page:
        return "this build of the server has no page"
    return "this server serves no page: start it without --no-web, or with --web-port"
