"""A connection to a server: one channel in each process, created when first needed."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before grpc is imported: a forked worker must be able to open a channel, and grpc's own log
# lines do not help users.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from modelyard.configuration import addresses, credentials
from modelyard.configuration.certificates import Certificates
from modelyard.configuration.settings import Settings, current, key_for
from modelyard.contract import errors
from modelyard.contract.transport import bearer
from modelyard.host import allocator, forking, terminal
from modelyard.local.v1 import local_pb2_grpc
from modelyard.rpc import embedded
from modelyard.rpc.calls import Calls, translate
from modelyard.v1 import (
    alias_pb2_grpc,
    event_pb2_grpc,
    metric_pb2_grpc,
    model_artifact_pb2_grpc,
    project_pb2_grpc,
    registered_model_pb2_grpc,
    run_console_pb2_grpc,
    run_file_pb2_grpc,
    run_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    upload_pb2_grpc,
)

_PROBE_SECONDS = 2.0
_PAGE = re.compile(r"https?://[!-~]+")
_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # Otherwise channels to the same address share sockets and backoff.
    ("grpc.use_local_subchannel_pool", 1),
)


class Connection:
    """Stubs of every service of one server, by short names such as `runs` and `artifacts`.

    Safe for threads, and for forked processes: each opens its own channel.
    Calls raise the classes of `modelyard.errors`; unary ones are repeated for up
    to a minute when the server says, or its absence suggests, that this helps.
    """

    def __init__(
        self,
        find: Callable[[], addresses.Endpoint],
        *,
        url: str = "",
        embedded_folder: Path | None = None,
        shares_disk: bool = True,
    ) -> None:
        self._find = find
        self._url = url
        self._lock = forking.lock()
        self._endpoint: addresses.Endpoint | None = None
        self._channel: grpc.Channel | None = None
        self._retired: list[grpc.Channel] = []
        self._page: str | None = None
        forking.watch(self)
        self.embedded_folder = embedded_folder
        self.shares_disk = shares_disk and embedded_folder is not None
        self._calls = calls = Calls(self)
        self.run_files = run_file_pb2_grpc.RunFileServiceStub(calls)
        self.runs = run_pb2_grpc.RunServiceStub(calls)
        self.metrics = metric_pb2_grpc.MetricServiceStub(calls)
        self.consoles = run_console_pb2_grpc.RunConsoleServiceStub(calls)
        self.artifacts = model_artifact_pb2_grpc.ModelArtifactServiceStub(calls)
        self.registry = registered_model_pb2_grpc.RegisteredModelServiceStub(calls)
        self.aliases = alias_pb2_grpc.AliasServiceStub(calls)
        self.uploads = upload_pb2_grpc.UploadServiceStub(calls)
        self.events = event_pb2_grpc.EventServiceStub(calls)
        self.projects = project_pb2_grpc.ProjectServiceStub(calls)
        self.server = server_pb2_grpc.ServerServiceStub(calls)
        self.local = local_pb2_grpc.LocalServiceStub(calls)

    def __reduce__(self) -> tuple[Callable[..., Connection], tuple[Any, ...]]:
        # The address without the key.
        if self.embedded_folder is not None:
            return _embedded, (self.embedded_folder,)
        return _reopened, (self._url,)

    def __copy__(self) -> Connection:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Connection:
        return self

    @property
    def channel(self) -> Calls:
        """The channel of calls, with key and errors; a new object after the server was located again."""
        self.current()
        return self._calls

    def explain(self, told: str) -> errors.CommError:
        """The error of a call that reached no server."""
        from modelyard.rpc import unreachable  # it imports ssl, so only when needed

        endpoint = self._endpoint
        if endpoint is None or endpoint.is_socket:
            return errors.ServerStopping(
                f"the modelyard server at {self.describe()} cannot be reached ({told})"
            )
        return unreachable.explain(endpoint, told, open_channel)

    def describe(self) -> str:
        """The server's address, for messages."""
        return str(self._endpoint) if self._endpoint else "an address not found yet"

    @property
    def address(self) -> str:
        """The address of a server that is not embedded; the same for every spelling. Else empty."""
        return "" if self.embedded_folder is not None else str(self._endpoint or self._find())

    def page(self) -> str:
        """The address of the server's page, without `/` at its end; empty without one.

        It is asked for once, within 2 s. An embedded server has one while its page is open, and is
        not started to find out.
        """
        if self.embedded_folder is not None:
            return _checked_page(embedded.page_of(self.embedded_folder))
        if self._page is None:
            try:
                self._page = _checked_page(self._ask_page())
            except (grpc.RpcError, errors.Error, ValueError):  # it is away: the next call asks again
                return ""
        return self._page

    def _ask_page(self) -> str:
        # Not by `self.server`, which tries for a minute.
        with forking.running():
            stub = server_pb2_grpc.ServerServiceStub(self.current())
            try:
                reply = stub.GetServerInfo(
                    server_pb2.GetServerInfoRequest(), timeout=_PROBE_SECONDS, metadata=self.credentials()
                )
            except grpc.RpcError as failure:
                if failure.code() is grpc.StatusCode.UNIMPLEMENTED:  # an older server
                    return ""
                raise
        return str(reply.web_url)

    def current(self) -> grpc.Channel:
        """grpc's channel of this process; created, with its embedded server, at the first call."""
        with forking.running(), self._lock:
            if self._channel is None:
                # After a fork the server usually has the same address; if not, a call locates it again.
                self._open(self._endpoint or self._find())
            return self._channel

    def credentials(self) -> tuple[tuple[str, str], ...]:
        """The key as metadata; empty without a key."""
        self.current()
        return bearer(self._endpoint.token if self._endpoint else "")

    def may_have_moved(self, error: errors.CommError) -> bool:
        """Whether an embedded server may have been replaced by one with a new token."""
        return self.embedded_folder is not None and isinstance(error, errors.AuthenticationError)

    def reconnect(self) -> None:
        """Finds the server again: the embedded one may have ended, or listen on another socket.

        Streams that are open keep their channel.
        """
        with forking.running(), self._lock:
            endpoint = self._find()
            if endpoint != self._endpoint:
                if self._channel is not None:
                    self._retired.append(self._channel)
                self._open(endpoint)

    def close(self) -> None:
        """Closes the channel; the next call opens a new one."""
        with forking.running(), self._lock:
            for channel in (self._channel, *self._retired):
                if channel is not None:
                    channel.close()
            self._channel, self._endpoint = None, None
            self._retired.clear()

    def _open(self, endpoint: addresses.Endpoint) -> None:
        allocator.tune()
        self._endpoint = endpoint
        self._channel = open_channel(endpoint)
        forking.guard()
        self._calls = Calls(self)

    def cut(self) -> None:
        """Closes the channel and cancels its calls; the next call opens a new one."""
        # Without the lock, which one of those calls may hold.
        channels, self._channel, self._retired = [self._channel, *self._retired], None, []
        for channel in channels:
            if channel is not None:
                channel.close()

    def forget_parent(self) -> None:
        """In a forked child: drops the parent's channel, which has no threads here."""
        self._channel, self._endpoint, self._retired = None, None, []


def _checked_page(url: str) -> str:
    """An address that a server gave; empty if it is none."""
    return url.rstrip("/") if _PAGE.fullmatch(url) else ""


def open_channel(endpoint: addresses.Endpoint, more: Sequence[tuple[str, Any]] = ()) -> grpc.Channel:
    """Opens a channel to an endpoint, with further gRPC options; sends nothing yet."""
    options = [*_OPTIONS, *more]
    if endpoint.stays_here:
        options.append(("grpc.enable_http_proxy", 0))
    if endpoint.tls:
        return grpc.secure_channel(endpoint.target, endpoint.certificates.credentials(), options=options)
    return grpc.insecure_channel(endpoint.target, options=options)


def answers(endpoint: addresses.Endpoint) -> bool:
    """Whether a modelyard server answers within 2 s and accepts this token."""
    from modelyard.v1 import registered_model_pb2 as pb

    with open_channel(endpoint) as channel:
        stub = registered_model_pb2_grpc.RegisteredModelServiceStub(channel)
        try:
            stub.ListRegisteredModels(
                pb.ListRegisteredModelsRequest(page_size=1),
                timeout=_PROBE_SECONDS,
                metadata=bearer(endpoint.token),
            )
        except grpc.RpcError as failure:
            # A new server has no entity yet: NOT_FOUND shows that it accepted the token.
            return isinstance(translate(failure, str(endpoint)), errors.NotFound)
    return True


def connect(settings: Settings) -> Connection:
    """The connection for settings; the same object for equal settings.

    Its first call connects, and starts an embedded server.
    """
    if settings.url and settings.travelled:
        return _reopened(settings.url)
    if settings.url:
        return _remote(settings.url, settings.api_key or "", _certificates(settings))
    return _embedded(settings.data_root)


@functools.cache
def _remote(url: str, key: str, certificates: Certificates) -> Connection:
    endpoint = addresses.parse(url, credentials.checked_key(key), certificates)
    if endpoint.token and not endpoint.tls and not endpoint.stays_here:
        terminal.termwarn(
            f"the API key goes to {endpoint} in plain text and can be read on the network: "
            "use grpcs:// or https://, with a server or balancer that has a certificate",
            repeat=False,
        )
    return Connection(lambda: endpoint, url=url)


@functools.cache
def _reopened(url: str) -> Connection:
    """The connection of an object pickled elsewhere, with the key that this process has for the address."""

    def find() -> addresses.Endpoint:
        return addresses.parse(url, credentials.checked_key(key_for(url)), _certificates(current()))

    return Connection(find, url=url)


def _certificates(settings: Settings) -> Certificates:
    return Certificates(settings.ca_certs or "", settings.client_cert or "", settings.client_key or "")


@functools.cache
def _embedded(folder: Path) -> Connection:
    return Connection(lambda: embedded.find_or_spawn(folder, answers), embedded_folder=folder)
