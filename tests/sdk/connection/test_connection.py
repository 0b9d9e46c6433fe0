"""How the SDK finds its server, stays connected to it, and reports errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.configuration import addresses, credentials, settings
from modelyard.rpc import calls, connection, embedded
from modelyard.v1 import model_artifact_pb2, registered_model_pb2, run_pb2
from tests.parts.embedded import embedded_pid, isolate, stop_embedded
from tests.parts.server import Factory


@pytest.mark.parametrize(
    ("address", "target", "tls"),
    [
        ("grpc://example.org:1", "example.org:1", False),
        ("http://example.org", "example.org:80", False),
        ("grpcs://example.org:2", "example.org:2", True),
        ("https://example.org/", "example.org:443", True),
        ("example.org:3", "example.org:3", True),
        ("localhost:4", "localhost:4", False),
        ("127.0.0.1:5", "127.0.0.1:5", False),
        ("[::1]:6", "[::1]:6", False),
        ("grpc://example.org", "example.org:7600", False),
    ],
)
def test_addresses_determine_whether_tls_is_used(address: str, target: str, tls: bool) -> None:
    found = addresses.parse(address)
    assert (found.target, found.tls) == (target, tls)


@pytest.mark.parametrize(
    "address", ["", "ftp://x:1", "grpc://", "grpc://x:99999", "grpc://u@x:1", "http://x/path", "a b:1"]
)
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address|host|[Pp]ort"):
        addresses.parse(address)


def test_a_token_is_never_shown() -> None:
    assert "secret" not in repr(addresses.parse("localhost:1", "secret"))
    assert "secret" not in repr(settings.Settings(api_key="secret"))


def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_processes_that_start_at_once_share_one_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _empty_folder(tmp_path, monkeypatch)
    script = "import modelyard\nwith modelyard.init(project='p') as run: run.log({'a': 1})"

    def start(_: int) -> int:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120).returncode

    try:
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(start, range(4))) == [0] * 4
        served = [
            line for line in (folder / "server.log").read_text().splitlines() if "modelyard serves" in line
        ]
        assert len(served) == 1
        assert len(list(modelyard.Api().runs("p"))) == 4
        assert stat.S_IMODE((folder / "server.json").stat().st_mode) == 0o600
    finally:
        stop_embedded(folder)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_went_away_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    folder = _empty_folder(tmp_path, monkeypatch)
    try:
        link = connection.connect(settings.current())
        link.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(name="one", project="p")))
        before = embedded_pid(folder)
        stop_embedded(folder, how)
        found = link.runs.GetRun(run_pb2.GetRunRequest(ref="p/one"))
        assert found.run.name == "one"
        assert embedded_pid(folder) != before
    finally:
        stop_embedded(folder)


def test_a_file_of_a_dead_server_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _empty_folder(tmp_path, monkeypatch)
    folder.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (folder / "server.json").write_text(json.dumps({"address": address, "token": "x", "pid": 1}))
        try:
            found = embedded.find_or_spawn(folder, connection.answers)
            assert found.target != address
        finally:
            stop_embedded(folder)


def test_a_server_whose_folder_was_deleted_leaves_its_successors_files(
    live_server_factory: Factory,
) -> None:
    first = live_server_factory("--embedded").start()
    shutil.rmtree(first.data)
    second = live_server_factory("--embedded", folder=first.folder).start()
    token = second.token
    first.stop()
    assert second.token == token


def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _empty_folder(tmp_path, monkeypatch)
    folder.mkdir()
    (folder / "server.log").write_text("")
    (folder / "lock").mkdir()  # where the server wants its lock file
    with pytest.raises(errors.CommError, match=r"ended before it served; the end of .*server\.log:\n  "):
        modelyard.init(project="p")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _empty_folder(tmp_path, monkeypatch)
    folder.write_text("a file")
    with pytest.raises(errors.CommError, match="MODELYARD_DATA_DIR"):
        modelyard.init(project="p")


def test_without_the_server_package_the_error_says_what_to_install(tmp_path: Path) -> None:
    client = Path(modelyard.__file__).parent
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "modelyard").symlink_to(client)
    script = (
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        "sys.path = [p for p in sys.path if not p.endswith(('/server', '/client/python'))]\n"
        f"sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import modelyard\n"
        "try:\n"
        "    modelyard.init(project='p')\n"
        "except modelyard.errors.CommError as error:\n"
        "    print(error)\n"
    )
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "WANDB_"))
    }
    variables |= {
        "MODELYARD_DATA_DIR": str(tmp_path / "data"),
        "MODELYARD_CONFIG_DIR": str(tmp_path / "config"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 'pip install "modelyard[server]"' in done.stdout
    assert "MODELYARD_URL" in done.stdout


def test_errors_come_back_as_the_server_raised_them(embedded: Path) -> None:
    link = connection.connect(settings.current())
    modelyard.init(project="conn").finish()
    with pytest.raises(errors.NotFound) as missing:
        link.artifacts.GetModelArtifactVersion(
            model_artifact_pb2.GetModelArtifactVersionRequest(ref="conn/no:v1")
        )
    assert missing.value.reason == "NOT_FOUND"
    assert "conn/no" in str(missing.value)
    with pytest.raises(errors.InvalidField) as wrong:
        link.registry.CreateRegisteredModel(
            registered_model_pb2.CreateRegisteredModelRequest(
                registered_model=registered_model_pb2.RegisteredModel(name="a/b")
            )
        )
    assert [field for field, _ in wrong.value.violations] == ["registered_model.name"]


def test_a_stream_raises_the_same_classes(embedded: Path) -> None:
    link = connection.connect(settings.current())
    request = model_artifact_pb2.DownloadFileRequest(ref="conn/nothing", path="x")
    with pytest.raises(errors.NotFound):
        list(link.artifacts.DownloadFile(request))


def test_a_wrong_key_is_an_authentication_error(embedded: Path, embedded_folder: Path) -> None:
    modelyard.init(project="conn").finish()
    address = json.loads((embedded_folder / "server.json").read_text())["address"]
    remote = connection.connect(settings.Settings(url=address, api_key="wrong"))
    with pytest.raises(errors.AuthenticationError):
        remote.runs.ListRuns(run_pb2.ListRunsRequest(project="conn"))


def test_a_write_has_the_same_request_id_in_every_attempt() -> None:
    request = run_pb2.CreateRunRequest()
    calls._identify(request)
    first = request.request_id
    calls._identify(request)
    assert first
    assert request.request_id == first
    read = run_pb2.GetRunRequest(ref="x")
    calls._identify(read)
    assert read == run_pb2.GetRunRequest(ref="x")


def test_forked_workers_use_models(embedded: Path) -> None:
    run = modelyard.init(project="conn")
    (embedded / "w.bin").write_text("weights")
    run.log_model("w.bin", name="forked")
    run.finish()
    child = os.fork()
    if child == 0:
        found = modelyard.Api().artifact("conn/forked")
        os._exit(0 if Path(found.file(embedded / "child")).read_text() == "weights" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_login_stores_a_key_that_the_server_accepts(
    embedded: Path, embedded_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert modelyard.login()  # embedded: nothing to do
    modelyard.init(project="conn").finish()
    content = json.loads((embedded_folder / "server.json").read_text())
    with pytest.raises(errors.AuthenticationError):
        modelyard.login(key="wrong", host=content["address"])
    assert credentials.load() == credentials.Credentials()
    assert modelyard.login(key=content["token"], host=content["address"])
    file = credentials.config_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = settings.current()
    assert (found.url, found.api_key) == (content["address"], content["token"])
    monkeypatch.setenv("MODELYARD_URL", "grpcs://elsewhere.example.org")
    assert settings.current().api_key is None  # the key is for the other server
