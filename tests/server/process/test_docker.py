"""The composition in docker/, run without containers: its own commands, environment and balancer."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.http.browser import Browser
from tests.http.test_connect import Watch
from tests.parts.compose import DOCKER, Composition, accepts, haproxy, instructions, last_stage
from tests.parts.processes import built, free_port, running
from tests.parts.server import LiveServer, environment

ROOT = DOCKER.parent
KEY = "my_" + "0123456789abcdef" * 2
VARIABLES = {"MODELYARD_API_KEY": KEY, "POSTGRES_PASSWORD": "secret", "S3_SECRET": "at-least-8-characters"}
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))

LOG = """
import modelyard, os, sys
with open("model.bin", "wb") as file:
    for _ in range(5):
        file.write(os.urandom(8 << 20))
with modelyard.init(project="digits") as run:
    run.log_model("model.bin", name="digits")
    run.link_model("model.bin", "Digit Reader", name="digits", aliases=["production"])
"""
USE = """
import modelyard
with modelyard.init(project="serving") as run:
    print(run.use_model("model-registry/Digit Reader:production"))
"""
LOOP = """
import hashlib, modelyard, os, pathlib
with modelyard.init(project="rolling") as run:
    while not pathlib.Path("enough").exists():
        content = os.urandom(6 << 20)
        pathlib.Path("model.bin").write_bytes(content)
        run.log_model("model.bin", name="rolling")
        print(hashlib.sha256(content).hexdigest(), flush=True)
"""
CHECK = """
import hashlib, modelyard, pathlib, sys
for number, digest in enumerate(sys.argv[1:]):
    path = modelyard.Api().artifact(f"rolling/rolling:v{number}").download(root=f"v{number}")
    assert hashlib.sha256((pathlib.Path(path) / "model.bin").read_bytes()).hexdigest() == digest, number
"""


@dataclasses.dataclass
class Cluster:
    """The running composition."""

    composition: Composition
    servers: list[LiveServer]
    balancer_log: Path
    env: dict[str, str]
    """What a client needs: the balancer's address and the key."""

    def client(self, code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a script of a user to its end."""
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=self.client_env(folder), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def client_env(self, folder: Path) -> dict[str, str]:
        """A user's environment: nothing of this machine's, a cache of their own."""
        own = {"MODELYARD_CACHE_DIR": str(folder / "cache"), "MODELYARD_CONFIG_DIR": str(folder / "config")}
        return environment(self.env | own | {"PYTHONWARNINGS": "error", "MODELYARD_SILENT": "true"})

    @contextmanager
    def logs_again(self, line: str) -> Iterator[None]:
        """Waits until the balancer has logged the text once more than before the block."""
        before = self.balancer_log.read_text().count(line)
        yield
        wait_until(lambda: self.balancer_log.read_text().count(line) > before)


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for up to a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def scripts_path() -> dict[str, str]:
    """The environment's PATH with the installed `modelyard` first, as in the image."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def minio_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MinIO's server as the composition runs it; its host and port."""
    composition = Composition(VARIABLES, {})
    folder = tmp_path_factory.mktemp("minio")
    program = str(built("minio"))

    def command(port: int) -> list[str]:
        replaced = {
            "minio": program,
            "/var/lib/minio/data": str(folder / "data"),
            ":9000": f"127.0.0.1:{port}",
        }
        return [replaced.get(word, word) for word in composition.command("minio")]

    env = os.environ | composition.environment("minio")
    with running(command, _minio_is_healthy, folder / "log", env=env) as port:
        yield f"127.0.0.1:{port}"


def _minio_is_healthy(port: int) -> bool:
    """Asks what the image's own health check asks."""
    url: str = last_stage(DOCKER / "minio.Dockerfile")["HEALTHCHECK"][-1]
    try:
        with urllib.request.urlopen(url.replace(":9000", f":{port}"), timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def cluster(
    postgres_url: str, minio_place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The whole composition: set up, two servers, the balancer."""
    balancer = haproxy()
    folder = tmp_path_factory.mktemp("composition")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute('CREATE DATABASE "modelyard"')
    places = {"postgres:5432": postgres_url.partition("@")[2].partition("/")[0], "minio:9000": minio_place}
    composition = Composition(VARIABLES, places)
    set_up(composition)
    with ExitStack() as stack:
        servers = []
        for name in ("server-1", "server-2"):
            modelyard, group, start, *options = composition.command(name)
            assert (modelyard, group, start) == ("modelyard", "server", "start")
            port = options.index("--port")
            del options[port : port + 2]  # a free one, which later starts keep
            options[options.index("--web-port") + 1] = str(free_port())
            server = LiveServer(folder / name, *options, place=(), env=composition.environment(name))
            stack.callback(server.close)
            servers.append(server.start())
        for n, server in enumerate(servers, 1):
            places[f"server-{n}:7600"] = f"127.0.0.1:{server.port}"
            places[f"server-{n}:7601"] = f"127.0.0.1:{urlsplit(server.web_url).port}"
        composition = Composition(VARIABLES, places)
        port = stack.enter_context(running_balancer(balancer, composition, folder))
        env = {"MODELYARD_URL": f"grpc://127.0.0.1:{port}", "MODELYARD_API_KEY": KEY}
        yield Cluster(composition, servers, folder / "balancer.log", env)


def set_up(composition: Composition) -> None:
    """Runs the service `setup` to its end."""
    done = subprocess.run(
        composition.command("setup"),
        env=environment(composition.environment("setup") | scripts_path()),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def running_balancer(program: Path, composition: Composition, folder: Path) -> AbstractContextManager[int]:
    """HAProxy with the configuration as it stands."""
    env = dict(os.environ) | composition.environment("balancer")
    for name in ("SERVER_1", "SERVER_2", "WEB_1", "WEB_2"):
        assert re.fullmatch(r"127\.0\.0\.1:\d+", env[name])

    def command(port: int) -> list[str]:
        # The port is known here only, and Popen takes the environment once for all attempts.
        return ["env", f"LISTEN=127.0.0.1:{port}", str(program), "-db", "-f", str(DOCKER / "haproxy.cfg")]

    return running(command, accepts, folder / "balancer.log", env=env)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_image_runs_as_an_unprivileged_user_with_a_health_check(dockerfile: Path) -> None:
    image = last_stage(dockerfile)
    assert image["USER"] not in ("root", "0")
    assert isinstance(image["ENTRYPOINT"], list)
    assert isinstance(image["HEALTHCHECK"], list)


def test_every_path_the_image_copies_exists_and_is_in_its_context() -> None:
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = [
        source
        for name, rest in instructions(DOCKER / "Dockerfile")
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert set(copied) == kept
    assert all((ROOT / source).exists() for source in copied)
    built_of = (ROOT / "pyproject.toml").read_text()
    assert 'packages = ["client/python/modelyard", "server/modelyard_server"]' in built_of


def test_every_service_depends_on_services_that_are_defined() -> None:
    composition = Composition(VARIABLES, {})
    for name, service in composition.services.items():
        assert set(service.get("depends_on", {})) < set(composition.services), name
        assert ("image" in service) != ("build" in service), name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in composition.volumes or (DOCKER / source).exists(), name


def test_the_balancers_configuration_is_valid() -> None:
    names = ("LISTEN", "SERVER_1", "SERVER_2", "WEB_1", "WEB_2")
    places = {name: f"127.0.0.1:{7600 + number}" for number, name in enumerate(names)}
    done = subprocess.run(
        [haproxy(), "-c", "-f", DOCKER / "haproxy.cfg"],
        env=os.environ | places, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_the_balancer_checks_health_by_a_grpc_call() -> None:
    """The bytes of the check are those that the standard's health call takes on the wire."""
    sent = "".join(re.findall(r"send-binary (\w+)", (DOCKER / "haproxy.cfg").read_text()))
    wire = bytes.fromhex(sent)
    assert wire.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    frames, rest = [], wire[24:]
    while rest:
        length = int.from_bytes(rest[:3])
        frames.append((rest[3], rest[9 : 9 + length]))
        rest = rest[9 + length :]
    assert [kind for kind, _ in frames] == [4, 1, 0]  # SETTINGS, HEADERS, DATA
    assert b"/grpc.health.v1.Health/Check" in frames[1][1]
    assert frames[2][1] == b"\0" + len(HealthCheckRequest().SerializeToString()).to_bytes(4)
    expected = re.findall(r"expect binary (\w+)", (DOCKER / "haproxy.cfg").read_text())
    serving = HealthCheckResponse(status=HealthCheckResponse.SERVING).SerializeToString()
    assert expected == [(b"\0" + len(serving).to_bytes(4) + serving).hex()]


def test_the_images_health_check_asks_a_server(live_server: LiveServer) -> None:
    image = last_stage(DOCKER / "Dockerfile")
    port = image["EXPOSE"].split()[0]
    assert image["CMD"][-2:] == ["--port", port]
    command = [word.replace(f"127.0.0.1:{port}", live_server.address) for word in image["HEALTHCHECK"]]
    assert live_server.address in command
    env = environment(scripts_path())
    assert subprocess.run(command, env=env, capture_output=True, timeout=30, check=False).returncode == 0
    command[-1] = f"127.0.0.1:{free_port()}"
    assert subprocess.run(command, env=env, capture_output=True, timeout=30, check=False).returncode == 1


def test_a_second_setup_changes_nothing(cluster: Cluster) -> None:
    set_up(cluster.composition)


def test_a_model_is_logged_and_downloaded_through_the_balancer(cluster: Cluster, tmp_path: Path) -> None:
    training, service = tmp_path / "training", tmp_path / "service"
    training.mkdir()
    service.mkdir()
    logged = cluster.client(LOG, training)
    assert logged.returncode == 0, logged.stderr
    used = cluster.client(USE, service)
    assert used.returncode == 0, used.stderr
    assert Path(used.stdout.strip()).read_bytes() == (training / "model.bin").read_bytes()


def test_browsers_use_the_port_of_the_balancer_too(cluster: Cluster) -> None:
    address = cluster.env["MODELYARD_URL"].replace("grpc://", "http://")
    browser = Browser(address)
    assert b"<html" in browser.get("/").body
    assert browser.get("/session").json == {"signIn": "key", "caller": None}
    assert browser.create_run("pages").status == 401
    signed_in = browser.sign_in(KEY)
    assert signed_in.headers["set-cookie"].startswith("__Host-modelyard=")
    assert signed_in.headers["set-cookie"].endswith("; Secure")
    # More calls than one server gets: each knows the session.
    assert {browser.create_run("pages").status for _ in range(6)} == {200}
    assert len(browser.runs("pages").json["runs"]) == 6
    info = browser.post("/modelyard.v1.ServerService/GetServerInfo", {}).json
    assert info["webUrl"] == cluster.composition.environment("server-1")["MODELYARD_SERVER_WEB_URL"]
    with Watch(
        address, b'{"entity": "acme", "project": "pages", "afterSequence": "0"}', **browser.sent()
    ) as watch:
        assert next(watch.events())["type"]
    forged = browser.create_run("pages", **{"sec-fetch-site": "cross-site", "origin": "https://evil.example"})
    assert forged.status == 403


def test_the_balancer_says_where_a_browser_is(cluster: Cluster) -> None:
    """So guessing is limited for each browser, whatever it puts into the header itself."""
    browser = Browser(cluster.env["MODELYARD_URL"].replace("grpc://", "http://"), source="127.0.0.7")
    found = [browser.sign_in("my_wrong", x_forwarded_for=f"10.0.0.{n}").status for n in range(24)]
    assert set(found) == {401, 429}
    assert Browser(f"http://{browser.place}").sign_in(KEY).status == 200


def test_calls_without_the_key_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    stranger = dataclasses.replace(cluster, env=cluster.env | {"MODELYARD_API_KEY": KEY[:-1] + "0"})
    done = stranger.client(USE, tmp_path)
    assert done.returncode == 1
    assert "KeyInvalid" in done.stderr


def test_a_server_that_hangs_leaves_the_rotation(cluster: Cluster, tmp_path: Path) -> None:
    server = cluster.servers[0]
    with cluster.logs_again("servers/one is UP"):
        try:
            with cluster.logs_again("servers/one is DOWN"):
                server.send(signal.SIGSTOP)
            done = cluster.client(LOG, tmp_path)
        finally:
            server.send(signal.SIGCONT)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_rolling_restart_fails_no_upload(cluster: Cluster, tmp_path: Path) -> None:
    logged, failures = tmp_path / "logged", tmp_path / "failures"

    def one_more() -> None:
        before = len(logged.read_text().split())
        wait_until(lambda: len(logged.read_text().split()) > before or client.poll() is not None)

    with (
        logged.open("w") as out,
        failures.open("w") as err,
        subprocess.Popen(
            [sys.executable, "-c", LOOP],
            cwd=tmp_path, env=cluster.client_env(tmp_path), stdout=out, stderr=err,
        ) as client,
    ):  # fmt: skip
        one_more()
        for server, name in zip(cluster.servers, ("one", "two"), strict=True):
            with cluster.logs_again(f"servers/{name} is DOWN"):
                assert server.stop() == 0
            one_more()
            with cluster.logs_again(f"servers/{name} is UP"):
                server.start()
            one_more()
        (tmp_path / "enough").touch()
        assert client.wait(60) == 0, failures.read_text()
    assert failures.read_text() == ""
    checked = cluster.client(CHECK, tmp_path, *logged.read_text().split())
    assert checked.returncode == 0, checked.stderr
