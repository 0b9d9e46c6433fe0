"""TLS: which certificates the SDK trusts and presents, and how soon errors are reported."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.configuration import addresses, settings
from modelyard.rpc import connection, unreachable
from modelyard.v1 import metric_pb2, run_pb2
from tests.parts.certificates import certificate, certificate_for_localhost
from tests.parts.embedded import isolate
from tests.parts.processes import free_port, require, running
from tests.parts.server import Factory, LiveServer, environment, run_server_command


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The server's certificate, which is not trusted by default, and its key."""
    return certificate_for_localhost(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(shown: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that speaks TLS."""
    options = ("--tls-cert", str(shown[0]), "--tls-key", str(shown[1]))
    live = LiveServer(tmp_path_factory.mktemp("secure"), *options)
    try:
        yield live.start()
    finally:
        live.close()


@pytest.fixture(autouse=True)
def no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    for name in ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)


def ask(url: str, **given: str) -> None:
    """One call; NotFound is an answer, since there is no such project."""
    link = connection.connect(settings.current({"url": url, **given}))
    with contextlib.suppress(errors.NotFound):
        link.runs.ListRuns(run_pb2.ListRunsRequest(project="nobody"), timeout=20)


def secure(server: LiveServer, host: str = "localhost") -> str:
    return f"grpcs://{host}:{server.port}"


def test_an_untrusted_certificate_is_reported_at_once_with_its_reason(server: LiveServer) -> None:
    with pytest.raises(errors.TLSFailed, match=r"not trusted: self.signed certificate.*MODELYARD_CA_CERTS"):
        ask(secure(server))
    with pytest.raises(errors.TLSFailed, match="not trusted"):
        modelyard.init(project="p", settings={"url": secure(server)})
    with pytest.raises(errors.TLSFailed, match="not trusted"):
        modelyard.login(host=secure(server), key="k")


def test_a_transfer_over_an_untrusted_connection_ends_at_once(server: LiveServer) -> None:
    link = connection.connect(settings.Settings(url=secure(server)))
    with pytest.raises(errors.TLSFailed, match="not trusted"):
        list(link.metrics.ScanMetricHistory(metric_pb2.ScanMetricHistoryRequest()))


def test_a_private_authority_is_trusted_by_a_setting(
    server: LiveServer, shown: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(secure(server), ca_certs=str(shown[0]))
    monkeypatch.setenv("SSL_CERT_FILE", str(shown[0]))
    ask(secure(server, "127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("MODELYARD_CA_CERTS", str(shown[0]))
    ask(secure(server))


def test_a_certificate_of_another_name_is_reported_at_once(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    other, key = certificate(tmp_path, "other", names="DNS:other.example")
    server = live_server_factory("--tls-cert", str(other), "--tls-key", str(key)).start()
    with pytest.raises(errors.TLSFailed, match="certificate is not for localhost"):
        ask(secure(server), ca_certs=str(other))


def test_an_expired_certificate_is_reported_at_once_by_client_server_and_doctor(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    old, key = certificate(tmp_path, "old", days=-1)
    options = ("--tls-cert", str(old), "--tls-key", str(key))
    server = live_server_factory(*options).start()
    assert f"clients refuse --tls-cert {old}: certificate has expired" in server.log.read_text()
    with pytest.raises(errors.TLSFailed, match="not trusted: certificate has expired"):
        ask(secure(server), ca_certs=str(old))
    examined = run_server_command("doctor", "--data", str(tmp_path / "data"), *options)
    assert examined.returncode == 1
    assert "problem  certificate: clients refuse" in examined.stdout


def test_a_certificate_that_ends_soon_is_a_warning(live_server_factory: Factory, tmp_path: Path) -> None:
    soon, key = certificate(tmp_path, "soon", days=3)
    server = live_server_factory("--tls-cert", str(soon), "--tls-key", str(key)).start()
    assert "expires in" in server.log.read_text()


def test_tls_on_one_side_only_is_reported_at_once(server: LiveServer, live_server: LiveServer) -> None:
    with pytest.raises(errors.TLSFailed, match="it speaks TLS: use grpcs://"):
        ask(f"grpc://localhost:{server.port}")
    with pytest.raises(errors.TLSFailed, match="does not speak TLS: use grpc://"):
        ask(f"grpcs://localhost:{live_server.port}")


@pytest.mark.parametrize("case", ["mismatch", "password", "swapped", "absent"])
def test_an_unusable_certificate_or_key_is_reported_at_start_and_by_doctor(
    shown: tuple[Path, Path], tmp_path: Path, case: str
) -> None:
    locked = certificate(tmp_path, "locked", password="four")
    pair, said = {
        "mismatch": ((shown[0], certificate(tmp_path, "other")[1]), "is not the key of --tls-cert"),
        "password": (locked, "the key without a password"),
        "swapped": ((shown[1], shown[0]), "both are PEM files"),
        "absent": ((shown[0], tmp_path / "none.pem"), "No such file"),
    }[case]
    options = ("--data", str(tmp_path / "data"), "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]))
    started = run_server_command("start", *options, "--port", "0")
    assert (started.returncode, said in started.stderr) == (1, True), started.stderr
    examined = run_server_command("doctor", *options)
    assert (examined.returncode, said in examined.stdout) == (1, True), examined.stdout


def test_a_client_certificate_is_shown_to_a_balancer_that_asks(
    live_server: LiveServer, shown: tuple[Path, Path], tmp_path: Path
) -> None:
    mine, key = certificate(tmp_path, "mine")
    both = tmp_path / "both.pem"
    both.write_bytes(mine.read_bytes() + key.read_bytes())
    with asking_balancer(live_server.port, shown, mine, tmp_path) as port:
        url = f"grpcs://localhost:{port}"
        known = {"ca_certs": str(shown[0]), "api_key": live_server.token}
        ask(url, client_cert=str(mine), client_key=str(key), **known)
        ask(url, client_cert=str(both), **known)
        with pytest.raises(errors.TLSFailed, match="MODELYARD_CLIENT_CERT"):
            ask(url, ca_certs=str(shown[0]))
        with pytest.raises(errors.TLSFailed, match="MODELYARD_CLIENT_CERT"):
            ask(url, ca_certs=str(shown[0]), client_cert=str(shown[0]), client_key=str(shown[1]))


@contextlib.contextmanager
def asking_balancer(server_port: int, shown: tuple[Path, Path], trusted: Path, folder: Path) -> Iterator[int]:
    """HAProxy before the server, which takes clients with one certificate only."""
    program = require(shutil.which("haproxy"), "HAProxy")
    pair = folder / "pair.pem"
    pair.write_bytes(shown[0].read_bytes() + shown[1].read_bytes())
    configuration = folder / "haproxy.cfg"

    def command(port: int) -> list[str]:
        configuration.write_text(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"frontend in\n bind 127.0.0.1:{port} ssl crt {pair} ca-file {trusted} verify required alpn h2\n"
            f" default_backend out\nbackend out\n server one 127.0.0.1:{server_port} proto h2\n"
        )
        return [str(program), "-db", "-f", str(configuration)]

    def accepts(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    with running(command, accepts, folder / "balancer.log") as port:
        yield port


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ca_certs": "none.pem"}, "MODELYARD_CA_CERTS: .*none.pem cannot be read: No such file"),
        ({"ca_certs": "junk.pem"}, "MODELYARD_CA_CERTS: not a usable PEM file"),
        ({"client_cert": "cert.pem", "client_key": "other-key.pem"}, "do not belong together"),
        ({"client_key": "other-key.pem"}, "goes with MODELYARD_CLIENT_CERT"),
    ],
)
def test_files_of_settings_that_cannot_be_used_are_named(
    server: LiveServer, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    certificate(tmp_path, "cert")
    certificate(tmp_path, "other")
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(errors.ConfigError, match=said):
        ask(secure(server), **{name: str(tmp_path / file) for name, file in given.items()})


def test_the_most_informative_failure_of_several_addresses_is_reported(
    server: LiveServer, live_server: LiveServer
) -> None:
    """The last that gRPC tried refused: a certificate, or another end, of the others says more."""
    endpoint = addresses.parse(secure(server))
    refused = "failed to connect to all addresses; last error: ipv6:[::1]:1: Connection refused"
    texts = [refused, unreachable.told_by(endpoint, "127.0.0.1", connection.open_channel)]
    found = unreachable.choose(endpoint, texts)
    assert isinstance(found, errors.TLSFailed)
    assert "self signed certificate" in str(found).replace("-", " ")
    assert "Connection refused" in str(unreachable.choose(endpoint, [refused]))


def test_a_server_that_is_not_up_yet_is_waited_for(tmp_path: Path) -> None:
    port = free_port()
    script = f"import modelyard; modelyard.init(project='p', settings={{'url': 'grpc://localhost:{port}'}}).finish()"
    waiting = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment() | {"MODELYARD_CONFIG_DIR": str(tmp_path)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = LiveServer(tmp_path / "late")
    server.port = port
    try:
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert "cannot be reached" in said
        assert "trying for" in said
        server.start()
        waiting.communicate(timeout=100)
        assert waiting.returncode == 0
    finally:
        waiting.kill()
        server.close()
