"""The settings of a server: the options of the command line, parsed once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from modelyard.contract.transport import DEFAULT_PORT, is_loopback

if TYPE_CHECKING:
    from modelyard.contract import errors

DEFAULT_HOST = "127.0.0.1"
EMBEDDED_IDLE_SECONDS = 60.0
SWEEP_SECONDS = 60.0
DRAIN_SECONDS = 30.0
UPLOAD_STREAMS = 64
DOWNLOAD_STREAMS = 128
WATCH_STREAMS = 256
STREAM_SHARE = 75
STALL_SECONDS = 120.0
MAX_VERSION_FILES = 500_000
MAX_VERSION_CHUNKS = 32_000_000
MAX_VERSION_GIB = 16 * 1024
SERVES = "modelyard serves"
"""Prefix of the line that says that the server is ready."""
WAITS = "modelyard waits"
"""Prefix of the line that says that it waits for the database or the store."""

_ESCAPES = "characters such as @ / : in a password are written as %40 %2F %3A"


class StartError(Exception):
    """Why a server or a maintenance command does not start: one sentence with what to do."""


class NotReachable(StartError):
    """The database or the store (`what`) does not answer yet; `error` is raised to callers meanwhile."""

    def __init__(self, what: str, error: errors.CommError, message: str) -> None:
        super().__init__(message)
        self.what = what
        self.error = error


@dataclass(frozen=True)
class Location:
    """Where the metadata and the bytes are. `folder` is None unless they lie in a data folder."""

    database: str
    store: str
    folder: Path | None

    @property
    def description(self) -> str:
        """The location in words, without passwords."""
        if self.folder is not None:
            return f"data: {self.folder}"
        return f"database: {without_secrets(self.database)}, store: {without_secrets(self.store)}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of this machine that hold metadata or bytes; none inside another."""
        own = () if self.folder is None else (self.folder,)
        if self.store.startswith("s3://"):
            return own
        path = unquote(urlsplit(self.store).path) if "://" in self.store else self.store
        store = Path(path).expanduser().absolute()
        return own if self.folder in store.parents else (*own, store)


@dataclass(frozen=True)
class Settings:
    """How a server runs. `port` 0 takes any free one; `idle_seconds` is for embedded servers only.

    `metrics_port` is that of the first worker; each of the others takes the next. The numbers of
    streams are those of each worker; `stream_share` is in percent (`rpc/dispatch/stream_limits.py`).
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
    log_level: str = "info"
    metrics_port: int | None = None
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
        """How clients write the address."""
        return "grpcs" if self.tls_cert else "grpc"

    def address(self, port: int, *, host: str | None = None) -> str:
        """A URL of the server; `host` where clients name another than the one it listens on."""
        return f"{self.scheme}://{bracketed(host or self.host)}:{port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def warnings(self) -> list[str]:
        """Warnings about allowed settings that may be a mistake."""
        if self.no_auth and not self.loopback:
            return [
                f"--no-auth with --host {self.host}: whoever reaches this address may read and delete "
                "everything; without --no-auth, `modelyard server key create NAME` makes keys for callers"
            ]
        return []

    def check(self) -> None:
        """Refuses combinations that cannot work. Raises StartError."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise StartError("--tls-cert and --tls-key go together: give both or neither")
        if self.embedded and self.location.folder is None:
            raise StartError("--embedded serves a data folder: leave --database away")
        if self.embedded and not self.loopback:
            raise StartError("--embedded is for this machine only: leave --host away")
        if self.workers > 1 and self.location.database.startswith("sqlite"):
            raise StartError("--workers needs PostgreSQL: give --database postgresql://… and --store")
        if self.workers > 1 and self.metrics_port == 0:
            raise StartError(
                "--metrics-port needs a number with --workers: the worker after it takes the next"
            )


def serves_line(settings: Settings, address: str) -> str:
    """The line that a server prints when it is ready."""
    return f"{SERVES} {address} ({settings.location.description})"


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def parse_location(data: Path | None, database: str | None, store: str | None) -> Location:
    """The location that the options name. Raises StartError.

    `data` holds both the metadata and the bytes; a PostgreSQL database needs a store that says
    where the bytes go; a store alone takes only the bytes out of the folder.
    """
    database, store = (
        (database or "").strip(),
        (store or "").strip(),
    )  # mounted secrets may end with a newline
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


def default_folder() -> Path:
    """The user's data folder, the same from every directory."""
    import platformdirs  # not needed when a folder is given

    return Path(platformdirs.user_data_dir("modelyard"))


def without_secrets(url: str) -> str:
    """A URL without the password in it and without its query; a path stays as it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    # From the right: a password with an unescaped `/`, `#` or `@` must not be taken for a host.
    owner, at, target = rest.rpartition("@")
    user = re.split("[:/?#]", owner)[0]
    return f"{scheme}://{user}{at}{re.split('[?#]', target)[0]}"


def _check_database(url: str) -> None:
    """Rejects URLs that other parsers would read as another host, and print. Raises StartError."""
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest)[0]
    if rest.count("@") > 1 or ("@" in rest and "@" not in authority):
        raise StartError(f"--database cannot be read: it has an @ where none belongs; {_ESCAPES}")
    port = re.search(r":([^\]]*)$", authority.rpartition("@")[2])
    if port and not port[1].isdigit():
        raise StartError(f"--database cannot be read: its port is not a number; {_ESCAPES}")
