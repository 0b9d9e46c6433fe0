"""API keys: where they may come from, and warnings where others can read them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.configuration import credentials, settings
from modelyard.v1 import run_pb2
from tests.clients.commands import COMMAND
from tests.parts.embedded import isolate
from tests.parts.fork_server import run_python
from tests.parts.server import LiveServer, command, environment, run_server_command

KEY = "my_" + "k" * 40
AROUND = ["\n", "\r\n", " \n\n", "\ufeff"]


@pytest.fixture
def server(live_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveServer:
    """A server that takes its folder's token, and an SDK without any setting."""
    isolate(monkeypatch, tmp_path)
    return live_server


def lists_runs() -> bool:
    """Whether the server answers a call with the key of the settings."""
    from modelyard.rpc.connection import connect

    connect(settings.current()).runs.ListRuns(run_pb2.ListRunsRequest(project="nobody"), timeout=20)
    return True


def shell(*arguments: str, given: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `modelyard …` with this process's settings and `env`."""
    return run_python(*COMMAND, *arguments, input=given, env=dict(os.environ) | env)


@pytest.mark.parametrize("around", AROUND)
def test_a_key_from_a_mounted_secret_works_with_its_line_break(
    server: LiveServer, around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELYARD_URL", f"{server.url}\n")
    monkeypatch.setenv("MODELYARD_API_KEY", around + server.token + around)
    assert settings.current().api_key == server.token
    assert modelyard.Api({"api_key": server.token + around}) is not None
    with pytest.raises(errors.NotFound):
        lists_runs()


@pytest.mark.parametrize("around", AROUND)
def test_login_strips_space_around_a_key(server: LiveServer, around: str) -> None:
    assert modelyard.login(key=server.token + around, host=server.url)
    assert credentials.load() == credentials.Credentials(server.url, server.token)
    path = credentials.config_file()
    path.write_text(json.dumps({"host": f"{server.url}\n", "key": server.token + around}))
    assert settings.current().api_key == server.token


def test_a_blank_key_is_no_key(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_API_KEY", " \n")
    assert settings.current().api_key is None


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("my_clé-of-somebody", "not ASCII"),
        ("my_first\nmy_second", "a line break"),
        ("my_\x1b[A", "a control character"),
    ],
)
def test_a_key_that_cannot_be_sent_is_invalid_and_says_why(
    server: LiveServer, key: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.KeyInvalid, match=kind) as at_login:
        modelyard.login(key=key, host=server.url)
    assert key not in str(at_login.value)
    assert credentials.load() == credentials.Credentials()
    monkeypatch.setenv("MODELYARD_URL", server.url)
    monkeypatch.setenv("MODELYARD_API_KEY", key)
    with pytest.raises(errors.KeyInvalid, match=kind):
        modelyard.init(project="p")
    with pytest.raises(errors.KeyInvalid, match=kind):
        lists_runs()
    said = shell("ls")
    assert (said.returncode, kind in said.stderr) == (1, True)
    assert "Traceback" not in said.stderr


def test_login_takes_the_key_from_standard_input_or_the_environment(server: LiveServer) -> None:
    piped = shell("login", "--host", server.url, "-", given=f"{server.token}\n")
    assert (piped.returncode, "WARNING" in piped.stderr) == (0, False), piped.stderr
    assert credentials.load().key == server.token
    credentials.forget()
    named = shell("login", "--host", server.url, MODELYARD_API_KEY=f"{server.token}\n")
    assert (named.returncode, "WARNING" in named.stderr) == (0, False), named.stderr
    assert credentials.load().key == server.token


def test_a_key_among_the_arguments_is_taken_with_a_warning(server: LiveServer, tmp_path: Path) -> None:
    done = shell("login", "--host", server.url, server.token)
    assert done.returncode == 0
    assert "MODELYARD_API_KEY" in done.stderr
    assert server.token not in done.stderr + done.stdout
    create = ("key", "create", "ci", "--data", str(tmp_path / "data"))
    assert "--key -" in run_server_command(*create, "--key", KEY).stderr
    piped = subprocess.run(
        command(*create, "--if-absent", "--key", "-"),
        input=f"{KEY}\n",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert (piped.returncode, piped.stderr) == (0, "")
    assert "is there already" in piped.stdout


def test_a_database_password_among_the_arguments_is_warned_of(tmp_path: Path) -> None:
    url = "postgresql://me:secret@127.0.0.1:9/none"
    store = ("--store", str(tmp_path))
    assert "MODELYARD_SERVER_DATABASE" in run_server_command("doctor", "--database", url, *store).stderr
    by_variable = run_server_command("doctor", *store, env={"MODELYARD_SERVER_DATABASE": url})
    assert by_variable.stderr == ""
    without = run_server_command("doctor", "--database", url.replace(":secret", ""), *store)
    assert without.stderr == ""


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("grpc://models.example.org", "k", 1),
        ("http://models.example.org", "k", 1),
        ("grpc://models.example.org", "", 0),
        ("grpcs://models.example.org", "k", 0),
        ("grpc://127.0.0.1:9", "k", 0),
        ("unix:/run/modelyard.sock", "k", 0),
    ],
)
def test_a_key_in_plain_text_to_another_machine_is_warned_of_once(url: str, key: str, warned: int) -> None:
    script = (
        "from modelyard.configuration import settings\n"
        "from modelyard.rpc import connection\n"
        f"for _ in range(2): connection.connect(settings.Settings(url={url!r}, api_key={key!r}))\n"
        f"connection.connect(settings.Settings(url={url!r}, api_key={key!r}, project='p'))\n"
    )
    done = run_python("-c", script, env=environment())
    assert done.stderr.count("in plain text") == warned
    assert done.returncode == 0
