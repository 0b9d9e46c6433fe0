"""Closed, missing, narrow or unread standard streams break neither a run nor a command."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

import modelyard
from modelyard import Api
from modelyard.host import terminal
from modelyard.transfer import progress
from tests.clients.commands import COMMAND
from tests.parts.server import Factory, command

CLOSED = ("sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-')
NAME = "läuft ▁▇ 雪"
SCRIPT = """
import sys
import modelyard
name = sys.argv[1]
with modelyard.init(project=sys.argv[2], name=name, config={"lr": 0.1}) as run:
    for step in range(3):
        run.log({"loss": step, "größe": step})
    open("a.txt", "w").write("a")
    run.log_model("a.txt", "m")
    run.use_model("m")
    run.alert(name, name)
    modelyard.termwarn(name)
"""


def run_script(*before: str, project: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        [*before, sys.executable, "-c", SCRIPT, NAME, project],
        env=environment, timeout=120, check=False, **options,
    )  # fmt: skip


def run_of(project: str) -> Any:
    (found,) = Api().runs(project)
    return found


def without_reader() -> IO[bytes]:
    """The end of a pipe whose other end is closed."""
    ours, theirs = os.pipe()
    os.close(ours)
    return os.fdopen(theirs, "wb")


def test_all_output_goes_through_one_module() -> None:
    root = Path(modelyard.__file__).parent
    for path in [*root.rglob("*.py"), *(root.parents[2] / "server").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called not in {"print", "click.echo", "click.secho", "sys.stdout.write"}, (path, called)


# The SDK.


def test_a_run_with_closed_streams_finishes(embedded: Path) -> None:
    done = run_script(*CLOSED, project="closed")
    assert done.returncode == 0
    assert (run_of("closed").state, run_of("closed").name) == ("finished", NAME)
    assert Api().artifact("closed/m").version == "v0"


def test_a_run_with_a_closed_pipe_finishes(embedded: Path) -> None:
    with without_reader() as pipe:
        assert run_script(project="unread", stdout=pipe, stderr=pipe).returncode == 0
    assert run_of("unread").state == "finished"


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}]
)
def test_a_run_replaces_characters_that_a_stream_cannot_encode(
    embedded: Path, environment: dict[str, str]
) -> None:
    project = f"narrow-{len(os.listdir(embedded.parent))}-{next(iter(environment.values()))}"
    done = run_script(project=project, env=environment)
    assert done.returncode == 0, done.stderr
    assert run_of(project).state == "finished"
    assert b"Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if b"View run l" in line]
    assert len(lines) == 1, done.stderr


class Odd:
    """A user's own stream, which has few of the methods of a file."""

    encoding = "none of all"

    def write(self, text: str) -> int:
        return len(text)


def _any(value: Any) -> Any:
    return value


@pytest.mark.parametrize("broken", ["missing", "closed", "latin", "odd"])
def test_lines_are_dropped_or_fitted_where_a_stream_cannot_take_them(
    embedded: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    raw = io.BytesIO()
    stream: io.TextIOWrapper | None = io.TextIOWrapper(raw, encoding="latin-1", errors="strict")
    if broken == "missing":
        stream = None
    elif broken == "closed" and stream is not None:
        stream.close()
    elif broken == "odd":
        stream = _any(Odd())
    monkeypatch.setattr(sys, "stderr", stream)
    assert progress.automatic() is progress.SILENT
    terminal.termwarn(NAME)
    with modelyard.init(project="stream-objects") as run:
        run.log({"loss": 1})
    if broken == "latin":
        assert "läuft ?? ?".encode("latin-1") in raw.getvalue()


def test_a_terminal_that_goes_away_does_not_end_a_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    terminal_stream = os.fdopen(theirs, "w")
    monkeypatch.setattr(sys, "stderr", terminal_stream)
    bar = progress.Bar(show_after=0)
    bar.start("upload", 100)
    bar.advance(10)
    os.close(ours)
    for _ in range(3):
        bar.advance(10)
        bar.refresh()
    bar.close()
    with contextlib.suppress(OSError):  # it may still hold what could not be written
        terminal_stream.close()


# Commands.


@pytest.fixture
def logged(embedded: Path) -> str:
    """A project with a run whose name is not Latin-1, and a model."""
    (embedded / "a.txt").write_text("a")
    project = f"streams-{os.getpid()}"
    with modelyard.init(project=project, name=NAME, reinit=True) as run:
        run.log_artifact("a.txt", name="m", type="model")
    return project


def run_cli(
    *arguments: str, before: tuple[str, ...] = (), **options: Any
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **options.pop("env", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(
        [*before, sys.executable, *COMMAND, *arguments], env=environment, timeout=120, check=False, **options
    )


@pytest.mark.parametrize(
    "arguments", [("ls", "PROJECT"), ("ls", "PROJECT", "--json"), ("--help",), ("show", "PROJECT/m:v0")]
)
def test_a_closed_pipe_ends_a_command_like_other_tools(logged: str, arguments: tuple[str, ...]) -> None:
    with without_reader() as pipe:
        done = run_cli(*(word.replace("PROJECT", logged) for word in arguments), stdout=pipe)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_command_piped_into_head_prints_no_error(logged: str) -> None:
    line = " ".join(f"'{word}'" for word in [sys.executable, *COMMAND, "ls", logged])
    done = subprocess.run(
        ["sh", "-c", f"{line} | head -n 1"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_a_closed_stderr_does_not_change_how_a_command_ends(logged: str) -> None:
    with without_reader() as pipe:
        assert run_cli("show", f"{logged}/nothing", stderr=pipe).returncode == 3
        assert run_cli("log", "a.txt", "--name", "n", "--project", logged, stderr=pipe).returncode == 0


def test_commands_work_with_closed_streams(logged: str) -> None:
    for arguments, code in (
        (("ls", logged), 0),
        (("log", "a.txt", "--name", "n", "--project", logged), 0),
        (("artifact", "rm", f"{logged}/n:v0"), 1),  # it has aliases
        (("show", f"{logged}/nothing"), 3),
        (("nonsense",), 2),
        (("--help",), 0),
        (("server", "--help"), 0),
    ):
        assert run_cli(*arguments, before=CLOSED).returncode == code, arguments
    assert Api().artifact(f"{logged}/n").version == "v0"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_characters_that_cannot_be_encoded_are_replaced_in_names(logged: str, encoding: str) -> None:
    shown = run_cli("ls", logged, env={"PYTHONIOENCODING": encoding})
    assert shown.returncode == 0, shown.stderr
    assert b"uft ?? ?" in shown.stdout
    assert run_cli("--help", env={"PYTHONIOENCODING": encoding}).returncode == 0
    as_json = run_cli("ls", logged, "--json", env={"PYTHONIOENCODING": encoding})
    assert json.loads(as_json.stdout)["runs"][0]["display_name"] == NAME


def test_output_that_a_full_disk_does_not_take_is_an_error(logged: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run_cli("ls", logged, stdout=full)
    assert done.returncode == 1
    assert done.stderr == b"modelyard: [Errno 28] No space left on device\n"


# The server.


def test_a_server_with_a_closed_pipe_serves(live_server_factory: Factory, tmp_path: Path) -> None:
    for number, before in enumerate(((), CLOSED)):
        data = str(tmp_path / f"data{number}")
        port = tmp_path / f"port{number}"
        with without_reader() as pipe:
            server = subprocess.Popen(
                [*before, *command("start"), "--data", data, "--port", "0", "--embedded",
                 "--idle-seconds", "3", "--log-level", "debug"],
                stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        # An embedded server ends with 0 after its idle time.
        assert server.wait(120) == 0, port
        assert Path(data, "modelyard.db").exists()


def test_server_commands_end_as_other_tools_do(tmp_path: Path) -> None:
    place = ("--data", str(tmp_path / "data"))
    with without_reader() as pipe:
        for arguments in (("migrate",), ("key", "create", "ada"), ("key", "ls"), ("doctor",)):
            for program in (
                command(*arguments, *place),
                [sys.executable, *COMMAND, "server", *arguments, *place],
            ):
                done = subprocess.run(program, stdout=pipe, stderr=subprocess.PIPE, timeout=120, check=False)
                assert (done.returncode, done.stderr) == (141, b""), arguments
