"""The SDK sends a data folder's token only to the server that holds the folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard.rpc import connection, embedded
from tests.parts.certificates import certificate_for_localhost
from tests.parts.embedded import embedded_pid, isolate, stop_embedded
from tests.parts.recording_server import recording_server
from tests.parts.server import Factory, LiveServer

TOKEN = "the-token-that-nobody-else-may-see"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of this test, without a server yet, that the SDK uses."""
    isolate(monkeypatch, tmp_path)
    found = tmp_path / "data"
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(found))
    yield found
    modelyard.finish()
    stop_embedded(found)


def log_something() -> None:
    """What a training script does; it must work whatever else listens on the port."""
    with modelyard.init(project="p") as run:
        run.log({"loss": 1})


def claim(folder: Path, **content: object) -> None:
    """Leaves the file that a killed server leaves."""
    folder.mkdir(exist_ok=True)
    path = folder / "server.json"
    path.write_text(json.dumps({"token": TOKEN, "pid": 1, "version": "0.1.0", **content}))
    path.chmod(0o600)


def test_a_process_on_the_port_of_a_killed_server_never_gets_its_token(
    live_server_factory: Factory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = live_server_factory().start()
    token = server.token
    server.kill()
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(server.data))
    try:
        with recording_server(server.address) as other:
            log_something()
            assert token not in "".join(other.heard)
            assert other.heard == []
    finally:
        stop_embedded(server.data)


def test_a_process_on_the_port_of_an_older_server_never_gets_its_token(folder: Path) -> None:
    with recording_server() as other:
        claim(folder, address=f"grpc://{other.address}")
        log_something()
        assert other.heard == []


@pytest.mark.parametrize("place", ["open to everybody", "behind a link", "of another user"])
def test_a_socket_that_other_users_may_have_made_is_not_used(
    folder: Path, place: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = tmp_path_factory.mktemp("s")
    named = there
    if place == "open to everybody":
        there.chmod(0o1777)
    elif place == "behind a link":
        named = there.with_name("link")
        named.symlink_to(there)
    elif os.geteuid():
        pytest.skip("only root can give folders away")
    else:
        os.chown(there, 65534, 65534)
    with recording_server(f"unix:{there}/s.sock") as other:
        claim(folder, address=other.address, socket=f"{named}/s.sock")
        log_something()
        assert other.heard == []


def test_an_embedded_server_listens_on_a_socket_of_its_owner_and_on_no_port(folder: Path) -> None:
    log_something()
    path = Path(json.loads((folder / "server.json").read_text())["socket"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    inodes = {os.readlink(entry) for entry in Path(f"/proc/{embedded_pid(folder)}/fd").iterdir()}
    listening = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    ]
    assert [line[1] for line in listening if f"socket:[{line[9]}]" in inodes] == []


@pytest.mark.parametrize("name", ["with space", "per%cent", "ümlaut", "a,b", "q?x#y", "long" * 30])
def test_a_folder_of_any_name_has_a_private_socket_until_its_server_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    isolate(monkeypatch, tmp_path)
    folder = tmp_path / name
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(folder))
    sockets = []
    try:
        for how in (signal.SIGKILL, signal.SIGTERM):
            assert connection.answers(embedded.find_or_spawn(folder, connection.answers))
            sockets.append(Path(json.loads((folder / "server.json").read_text())["socket"]))
            assert stat.S_IMODE(sockets[-1].parent.stat().st_mode) == 0o700
            stop_embedded(folder, how)
    finally:
        stop_embedded(folder)
    for path in sockets:  # of the killed one too: the next over the folder tidies up
        assert not path.exists()
        assert path.parent == folder or not path.parent.exists()


def test_a_folder_that_a_group_writes_has_its_socket_elsewhere(live_server_factory: Factory) -> None:
    server = live_server_factory()
    server.data.mkdir(parents=True)
    server.data.chmod(0o770)
    server.start()
    path = Path(json.loads((server.data / "server.json").read_text())["socket"])
    assert path.parent != server.data
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert connection.answers(embedded.find_or_spawn(server.data, connection.answers))
    assert server.stop() == 0
    assert not path.parent.exists()


def test_a_server_with_tls_is_called_over_its_socket(
    live_server_factory: Factory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = certificate_for_localhost(tmp_path)
    server = live_server_factory("--tls-cert", str(certificate), "--tls-key", str(key)).start()
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(server.data))
    log_something()
    assert len(list(modelyard.Api().runs("p"))) == 1


def test_a_server_whose_folder_was_deleted_leaves_its_successors_socket(
    live_server_factory: Factory,
) -> None:
    first: LiveServer = live_server_factory("--embedded").start()
    shutil.rmtree(first.data)
    second = live_server_factory("--embedded", folder=first.folder).start()
    assert first.stop() == 0
    assert connection.answers(embedded.find_or_spawn(second.data, connection.answers))
    assert embedded_pid(second.data) == second.pid
