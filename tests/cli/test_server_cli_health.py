"""`modelyard server health`: a health check that needs nothing but the program."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.parts.certificates import certificate_for_localhost
from tests.parts.processes import free_port
from tests.parts.server import Factory, LiveServer, run_server_command


def test_a_server_that_serves_is_healthy(live_server: LiveServer) -> None:
    done = run_server_command("health", "--address", live_server.address)
    assert (done.returncode, done.stdout) == (0, f"{live_server.address} is SERVING\n")


def test_an_unreachable_server_is_reported_as_an_error(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run_server_command("health", "--address", address, "--timeout", "1")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {address} does not answer: UNAVAILABLE")


def test_a_server_that_hangs_is_not_healthy(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    server.send(signal.SIGSTOP)
    done = run_server_command("health", "--address", server.address, "--timeout", "1")
    assert done.returncode == 1
    assert "DEADLINE_EXCEEDED" in done.stderr


def test_the_health_check_needs_no_key(live_server_factory: Factory, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    assert run_server_command("key", "create", "ada", *data).returncode == 0
    server = live_server_factory("--host", "0.0.0.0", place=data).start()
    assert run_server_command("health", "--address", f"127.0.0.1:{server.port}").returncode == 0


def test_over_tls_the_certificate_is_checked(live_server_factory: Factory, tmp_path: Path) -> None:
    certificate, key = certificate_for_localhost(tmp_path)
    server = live_server_factory("--tls-cert", str(certificate), "--tls-key", str(key)).start()
    ask = ("health", "--address", server.address, "--timeout", "3")
    assert run_server_command(*ask, "--tls-ca", str(certificate)).returncode == 0
    assert run_server_command(*ask, "--tls").returncode == 1
    assert run_server_command(*ask).returncode == 1
