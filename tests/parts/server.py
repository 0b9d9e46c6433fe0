"""The real server as a process of its own, and plain generated stubs to talk to it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from modelyard import v1
from modelyard.local.v1 import local_pb2, local_pb2_grpc
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
    server_pb2_grpc,
    upload_pb2_grpc,
)
from tests.parts.fork_server import run_python, start_python
from tests.parts.postgres import new_database
from tests.parts.s3 import CREDENTIALS, S3Server


def _with_services() -> Iterator[Any]:
    for module in pkgutil.iter_modules(v1.__path__, f"{v1.__name__}."):
        if module.name.endswith("_pb2"):
            loaded = importlib.import_module(module.name)
            if loaded.DESCRIPTOR.services_by_name:
                yield loaded


PROMISED: tuple[Any, ...] = tuple(_with_services())
"""Modules of the services that callers in any language may depend on."""
MODULES = (*PROMISED, local_pb2)
"""The generated modules that have services."""
SERVER = ("-P", "-m", "modelyard_server")
"""`modelyard server`, behind the interpreter."""
READY_SECONDS = 30.0
STOP_SECONDS = 45.0
_SERVES = re.compile(
    r"^modelyard serves (unix:\S+|grpcs?://\S+:(\d+)) (?:and (https?://\S+) )?", re.MULTILINE
)
_numbers = itertools.count(1)

# A test run that is killed leaves no servers behind. Not by preexec_fn, which forks this process and
# with it gRPC, whose threads then die in the child now and then.
_PROGRAM = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
_DYING_WITH_US = (sys.executable, "-I", "-S", "-c", _PROGRAM) if sys.platform == "linux" else ()

Factory = Callable[..., "LiveServer"]


@dataclasses.dataclass(frozen=True)
class Stubs:
    """Generated stubs of every service on one channel."""

    channel: grpc.Channel
    runs: Any
    metrics: Any
    console: Any
    run_files: Any
    events: Any
    artifacts: Any
    registry: Any
    aliases: Any
    uploads: Any
    projects: Any
    server: Any
    local: Any
    health: Any


class LiveServer:
    """`python -m modelyard_server start OPTIONS`, on a free port that later starts keep.

    `folder` holds its output and, unless `place` says otherwise, its data;
    `env` is added to its environment at the next start; its command line goes
    behind `wrapper`, as in `("nice",)`. It is forked from a process that has
    loaded its modules already, but where there is a wrapper or `interpreted` is set.
    """

    wrapper: Sequence[str] = ()
    interpreted = False

    def __init__(
        self,
        folder: Path,
        *options: str,
        place: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.place = tuple(place) if place is not None else ("--data", str(self.data))
        self.options = options
        self.env = dict(env or {})
        self.port = 0
        self.url = ""
        self.web_url = ""
        """Of the HTTP port, if options about it were given: without them it is off."""
        self._process: subprocess.Popen[bytes] | None = None
        self._channels: list[grpc.Channel] = []

    @property
    def log(self) -> Path:
        """Everything the server printed and logged, of all starts."""
        return self.folder / "output.log"

    @property
    def address(self) -> str:
        """`host:port`, or `unix:/path` of an embedded server, as gRPC takes it."""
        return self.url.rpartition("://")[2]

    @property
    def token(self) -> str:
        """The data folder's token; empty for a server without one."""
        path = self.data / "server.json"
        return str(json.loads(path.read_text())["token"]) if path.exists() else ""

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def start(self) -> LiveServer:
        """Starts it and waits until it serves."""
        begin = self.spawn()
        self.wait_until_serving(begin)
        return self

    def spawn(self) -> int:
        """Starts it without waiting; returns the offset of this start in the log.

        The calling thread must live as long as the server, which is killed at the end of that thread.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as output:
            web = () if any(option.startswith("--web-") for option in self.options) else ("--no-web",)
            arguments = ("start", *self.place, "--port", str(self.port), *web, *self.options)
            streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            if self.wrapper or self.interpreted:
                begun = [*_DYING_WITH_US, *self.wrapper, *command(*arguments)]
                self._process = subprocess.Popen(begun, env=environment(self.env), **streams)
            else:
                self._process = start_python(*SERVER, *arguments, env=environment(self.env), **streams)
        return begin

    def stubs(self, token: str | None = None) -> Stubs:
        """Stubs that send `token` as the API key; by default the folder's own token, if there is one."""
        token = self.token if token is None else token
        channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._channels.append(channel)
        return stubs_on(channel, token)

    def kill(self) -> None:
        """SIGKILL: no chance to finish anything."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit code once it has drained."""
        self.send(signal.SIGTERM)
        return self.wait()

    def restart(self) -> LiveServer:
        """Stops it, if it runs, and starts it on the same port."""
        if self.exit_code is None:
            self.stop()
        return self.start()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to a server that runs."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        return self._process.wait(seconds)

    def close(self) -> None:
        """Ends it in any state."""
        for channel in self._channels:
            channel.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            for _ in range(2):  # the second one does not wait for calls that run
                self.send(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(1)
            self._process.kill()
            self._process.wait()

    def wait_until_serving(self, begin: int) -> None:
        """Returns when the start whose log begins there serves; fails the test when it does not."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with self.log.open("rb") as log:
                log.seek(begin)
                found = _SERVES.search(log.read().decode(errors="replace"))
            if found:
                self.url, self.port, self.web_url = found[1], int(found[2] or 0), found[3] or ""
                return
            if self.exit_code is not None:
                break
            time.sleep(0.02)
        raise AssertionError(
            f"the server does not serve (exit code {self.exit_code}): {self.log.read_text()[-3000:]}"
        )


class _WithToken(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpc has no types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Adds the API key to every call, as clients in all languages do."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._header]
        return continuation(details._replace(metadata=metadata), request)

    intercept_unary_unary = _intercept
    intercept_unary_stream = _intercept
    intercept_stream_unary = _intercept
    intercept_stream_stream = _intercept


def stubs_on(channel: grpc.Channel, token: str = "") -> Stubs:
    """Stubs on a channel that send `token` as the API key, if there is one."""
    if token:
        channel = grpc.intercept_channel(channel, _WithToken(token))
    return Stubs(
        channel,
        run_pb2_grpc.RunServiceStub(channel),
        metric_pb2_grpc.MetricServiceStub(channel),
        run_console_pb2_grpc.RunConsoleServiceStub(channel),
        run_file_pb2_grpc.RunFileServiceStub(channel),
        event_pb2_grpc.EventServiceStub(channel),
        model_artifact_pb2_grpc.ModelArtifactServiceStub(channel),
        registered_model_pb2_grpc.RegisteredModelServiceStub(channel),
        alias_pb2_grpc.AliasServiceStub(channel),
        upload_pb2_grpc.UploadServiceStub(channel),
        project_pb2_grpc.ProjectServiceStub(channel),
        server_pb2_grpc.ServerServiceStub(channel),
        local_pb2_grpc.LocalServiceStub(channel),
        health_pb2_grpc.HealthStub(channel),
    )


def command(*arguments: str) -> list[str]:
    """The command line of `modelyard server …`."""
    return [sys.executable, *SERVER, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the user, and `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELYARD_")}
    return kept | dict(extra or {})


def run_server_command(
    *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `modelyard server …` to its end."""
    return run_python(*SERVER, *arguments, timeout=60, env=environment(env))


@pytest.fixture
def live_server_factory(tmp_path: Path) -> Iterator[Factory]:
    """Makes servers, which are not started yet: `live_server_factory("--embedded", env={…}).start()`."""
    made: list[LiveServer] = []

    def make(
        *options: str,
        place: Sequence[str] | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        interpreted: bool = False,
    ) -> LiveServer:
        made.append(LiveServer(folder or tmp_path / f"server{len(made)}", *options, place=place, env=env))
        made[-1].interpreted = interpreted
        return made[-1]

    yield make
    for server in made:
        server.close()


def create_key(server: LiveServer, name: str, *options: str) -> str:
    """The text of a new API key; `options` are those of `modelyard server key create`."""
    done = run_server_command("key", "create", name, *options, *server.place, env=server.env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server over SQLite and a folder for all tests: each uses a project of its own."""
    server = LiveServer(tmp_path_factory.mktemp("live"))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def production_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """One server over PostgreSQL and S3 for all tests: each uses a project of its own."""
    place, env = production_place(request)
    server = LiveServer(tmp_path_factory.mktemp("production"), place=place, env=env)
    try:
        yield server.start()
    finally:
        server.close()


# For a module, though it starts nothing: else pytest runs the tests of all modules by their parameters.
@pytest.fixture(scope="module", params=["sqlite+disk", "postgresql+s3"])
def any_live_server(request: pytest.FixtureRequest) -> LiveServer:
    """The session's server on each pair of database and store."""
    name = "live_server" if request.param == "sqlite+disk" else "production_server"
    server: LiveServer = request.getfixturevalue(name)
    return server


@pytest.fixture(scope="session")
def keyed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server over SQLite that asks for API keys: each test makes keys for an entity of its own."""
    server = LiveServer(tmp_path_factory.mktemp("keyed"))
    try:
        create_key(server, "first", "--all-entities")
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def keyed_production_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """The same over PostgreSQL and S3."""
    place, env = production_place(request)
    server = LiveServer(tmp_path_factory.mktemp("keyed-production"), place=place, env=env)
    try:
        create_key(server, "first", "--all-entities")
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module", params=["sqlite+disk", "postgresql+s3"])
def any_keyed_server(request: pytest.FixtureRequest) -> LiveServer:
    """The session's server that asks for API keys on each pair of database and store."""
    name = "keyed_server" if request.param == "sqlite+disk" else "keyed_production_server"
    server: LiveServer = request.getfixturevalue(name)
    return server


def production_place(request: pytest.FixtureRequest) -> tuple[Sequence[str], Mapping[str, str]]:
    """Options and environment of a server over a new PostgreSQL database and a new bucket."""
    store: S3Server = request.getfixturevalue("minio_server")
    database = new_database(request.getfixturevalue("postgres_url"))
    return ("--database", database, "--store", store.url(store.new_bucket())), CREDENTIALS


def reason(failure: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a refused call, whose status has exactly one ErrorInfo."""
    infos = details(failure.value, error_details_pb2.ErrorInfo)
    assert len(infos) == 1
    assert infos[0].domain == "modelyard"
    return failure.value.code(), infos[0].reason


def fields(failure: pytest.ExceptionInfo[grpc.RpcError]) -> list[str]:
    """The fields that a refused call's status names."""
    found = details(failure.value, error_details_pb2.BadRequest)
    return [violation.field for request in found for violation in request.field_violations]


def details(failure: grpc.RpcError, kind: type[Any]) -> list[Any]:
    """The details of one kind in a status."""
    status: Any = rpc_status.from_call(failure)
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def new_project() -> str:
    """The name of a project that no other test uses."""
    return f"project-{os.getpid()}-{next(_numbers)}"
