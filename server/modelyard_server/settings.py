"""The settings of a server: the options of the command line, parsed once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from modelyard.contract.limits import VERSION_ENTRIES
from modelyard.contract.transport import DEFAULT_PORT, is_loopback

if TYPE_CHECKING:
    from modelyard.contract import errors

DEFAULT_HOST = "127.0.0.1"
LAST_PORT = 65_535
EMBEDDED_IDLE_SECONDS = 60.0
SWEEP_SECONDS = 60.0
COLLECT_SECONDS = 60.0
RETENTION = "24h"
DRAIN_SECONDS = 30.0
UPLOAD_STREAMS = 64
DOWNLOAD_STREAMS = 128
WATCH_STREAMS = 256
STREAM_SHARE = 75
STALL_SECONDS = 120.0
MAX_VERSION_FILES = VERSION_ENTRIES
MAX_VERSION_CHUNKS = 32_000_000
MAX_VERSION_GIB = 16 * 1024
SERVES = "modelyard serves"
"""First words of the line that a server prints when it serves."""
WAITS = "modelyard waits"
"""First words of the line that a server prints while it waits for the database or the store."""

PAGE = Path(__file__).parent / "web" / "dist"
"""The built page of this package."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_ESCAPES = "characters such as @ / : in a password are written as %40 %2F %3A"


class StartError(Exception):
    """A server or a maintenance command cannot start. The message says why and what to do."""


class NotReachable(StartError):
    """The database or the store, named by `what`, does not answer; a retry may help.

    `for_callers` is the error that callers get meanwhile.
    """

    def __init__(self, what: str, for_callers: errors.CommError, message: str) -> None:
        super().__init__(message)
        self.what = what
        self.for_callers = for_callers


@dataclass(frozen=True)
class Location:
    """Where the metadata and the bytes are. `folder` is the data folder, None with PostgreSQL."""

    database: str
    store: str
    folder: Path | None

    @property
    def description(self) -> str:
        """The location for messages, without passwords."""
        if self.folder is not None:
            return f"data: {self.folder}"
        return f"database: {without_secrets(self.database)}, store: {without_secrets(self.store)}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The local folders that hold metadata or bytes, none inside another."""
        own = () if self.folder is None else (self.folder,)
        if self.store.startswith("s3://"):
            return own
        path = unquote(urlsplit(self.store).path) if "://" in self.store else self.store
        store = Path(path).expanduser().absolute()
        return own if self.folder in store.parents else (*own, store)


@dataclass(frozen=True)
class Settings:
    """How a server runs.

    `port` and `web_port` 0 mean any free one; without `web_port` it is `default_web_port`. `web_host` are
    further names that browsers reach the server by, `web_url` is the address where they do, `web_dist` the
    folder of a page other than the package's.
    `idle_seconds` is for embedded servers only. `metrics_port` is that of the first worker; each further
    worker uses the next one. `retention`, a duration, is how long a pack is kept that nothing needs any
    more; `collect_seconds` is how often the collector works. Limits of streams apply to each worker;
    `stream_share` is in percent, see `rpc/dispatch/stream_limits.py`.
    """

    location: Location
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    workers: int = 1
    tls_cert: Path | None = None
    tls_key: Path | None = None
    no_auth: bool = False
    embedded: bool = False
    idle_seconds: float = EMBEDDED_IDLE_SECONDS
    sweep_seconds: float = SWEEP_SECONDS
    collect_seconds: float = COLLECT_SECONDS
    retention: str = RETENTION
    log_level: str = "info"
    metrics_port: int | None = None
    web_port: int | None = None
    no_web: bool = False
    web_url: str = ""
    web_host: tuple[str, ...] = ()
    web_behind_proxy: bool = False
    web_dist: Path | None = None
    otel_endpoint: str | None = None
    drain_seconds: float = DRAIN_SECONDS
    upload_streams: int = UPLOAD_STREAMS
    download_streams: int = DOWNLOAD_STREAMS
    watch_streams: int = WATCH_STREAMS
    stream_share: int = STREAM_SHARE
    stall_seconds: float = STALL_SECONDS
    max_version_files: int = MAX_VERSION_FILES
    max_version_chunks: int = MAX_VERSION_CHUNKS
    max_version_gib: int = MAX_VERSION_GIB

    @property
    def scheme(self) -> str:
        """The scheme of the server's URL."""
        return "grpcs" if self.tls_cert else "grpc"

    @property
    def page(self) -> Path:
        """The folder of the built page."""
        return self.web_dist or PAGE

    @property
    def has_page(self) -> bool:
        """Whether the page was built."""
        return (self.page / "index.html").is_file()

    @property
    def default_web_port(self) -> int | None:
        """The HTTP port of a server for which none was chosen: the one after `port`, if there is a page."""
        if self.no_web or self.embedded or not self.has_page or self.port == LAST_PORT:
            return None
        return self.port + 1 if self.port else 0

    def web_address(self, port: int, *, host: str | None = None) -> str:
        """The URL of the server's HTTP port; `host` replaces the one it listens on."""
        return f"{'https' if self.tls_cert else 'http'}://{bracketed(host or self.host)}:{port}"

    def address(self, port: int, *, host: str | None = None) -> str:
        """The URL of the server on a port; `host` replaces the one it listens on."""
        return f"{self.scheme}://{bracketed(host or self.host)}:{port}"

    @property
    def loopback(self) -> bool:
        """Whether the server accepts connections from this machine only."""
        return is_loopback(self.host)

    def warnings(self) -> list[str]:
        """Sentences about settings that are allowed and may be a mistake."""
        if self.no_auth and not self.loopback:
            return [
                f"--no-auth with --host {self.host}: everybody who reaches this address may read and delete "
                "everything; to require keys, leave --no-auth out and run `modelyard server key create NAME`"
            ]
        return []

    def check(self) -> None:
        """Raises StartError for combinations that cannot work."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise StartError("--tls-cert and --tls-key go together: give both or neither")
        if self.embedded and self.location.folder is None:
            raise StartError("--embedded serves a data folder: leave --database out")
        if self.embedded and self.web_port is not None:
            raise StartError("--embedded serves its folder's owner only: leave --web-port out")
        if self.no_web and self.web_port is not None:
            raise StartError("--no-web and --web-port exclude each other: give one of them")
        if self.web_url and not re.match(r"https?://[^/?#\s]+/?$", self.web_url):
            raise StartError(
                f"--web-url takes an address such as https://models.example.org: {self.web_url!r}"
            )
        if self.embedded and not self.loopback:
            raise StartError("--embedded is for this machine only: leave --host out")
        if self.workers > 1 and self.location.database.startswith("sqlite"):
            raise StartError("--workers needs PostgreSQL: give --database postgresql://… and --store")
        if self.workers > 1 and self.metrics_port == 0:
            raise StartError(
                "--metrics-port must not be 0 with --workers: each further worker uses the next number"
            )


def serves_line(settings: Settings, address: str, web_port: int | None = None) -> str:
    """The line that a server prints when it serves."""
    web = "" if web_port is None else f" and {settings.web_address(web_port)}"
    return f"{SERVES} {address}{web} ({settings.location.description})"


def bracketed(host: str) -> str:
    """A host as written before a port: an IPv6 address gets brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def parse_location(data: Path | None, database: str | None, store: str | None) -> Location:
    """The location that the options name. Raises StartError.

    The folder `data` holds metadata and bytes. A PostgreSQL database needs a store for the bytes. A
    store without a database replaces the folder for the bytes only.
    """
    # A mounted secret may end with a line break.
    database, store = (database or "").strip(), (store or "").strip()
    if database and not database.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        raise StartError("--database takes postgresql://user:password@host/name; for SQLite give --data DIR")
    if database and not store:
        raise StartError("--database also needs --store: s3://bucket?endpoint=… or file:///folder")
    if database:
        _check_database(database)
    if database and store:
        return Location(database.replace("postgres://", "postgresql://", 1), store, None)
    folder = (data or default_folder()).expanduser().absolute()
    database = f"sqlite:///{quote(str(folder / 'modelyard.db'))}"
    return Location(database, store or str(folder / "store"), folder)


def parse_duration(text: str) -> int:
    """The microseconds of a duration such as 0, 90s, 15m, 24h or 7d. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])|0", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 0, 90s, 15m, 24h or 7d")
    return int(match[1] or 0) * _SECONDS.get(match[2], 0) * 1_000_000


def default_folder() -> Path:
    """The user's default data folder, independent of the current directory."""
    import platformdirs  # imported only where no folder is given

    return Path(platformdirs.user_data_dir("modelyard"))


def without_secrets(url: str) -> str:
    """A URL without its password and query. A path is returned unchanged."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    # Split at the last @: a password may contain an unescaped `/`, `#` or `@`.
    owner, at, target = rest.rpartition("@")
    user = re.split("[:/?#]", owner)[0]
    return f"{scheme}://{user}{at}{re.split('[?#]', target)[0]}"


def _check_database(url: str) -> None:
    """Raises StartError for a URL whose password would be read, and logged, as part of the host."""
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest)[0]
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority):
        raise StartError(
            f"--database cannot be parsed: it has an @ that is not the separator before the host; {_ESCAPES}"
        )
    port = re.search(r":([^\]]*)$", authority.rpartition("@")[2])
    if port and not port[1].isdigit():
        raise StartError(f"--database cannot be parsed: its port is not a number; {_ESCAPES}")
