"""The command `modelyard`, in this process as scripts see it, and as a process on a terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import time
from typing import Any, NamedTuple

from modelyard import cli
from tests.parts.fork_server import start_python

COMMAND = ("-c", "from modelyard.cli import main; main()")
"""The command, behind `python`."""
_SECONDS = 120


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run_command(*arguments: str) -> Done:
    """Runs it to its end; neither side is a terminal. A process of its own would cost half a second each."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = cli.run(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


def json_of(*arguments: str) -> Any:
    """What it prints with `--json`."""
    done = run_command(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(code: int, *arguments: str) -> str:
    """The one line it prints when it fails with an exit code."""
    done = run_command(*arguments)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.strip()


def on_terminal(*arguments: str, answer: str = "", columns: int = 80) -> tuple[int, str]:
    """Runs it on a terminal, types `answer`; its exit code and what the terminal showed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = start_python(*COMMAND, *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    if answer:
        os.write(ours, answer.encode())
    shown, deadline = b"", time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        ready, _, _ = select.select([ours], [], [], 0.2)
        if ready:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side is gone
                break
            if not data:
                break
            shown += data
    os.close(ours)
    return process.wait(_SECONDS), shown.decode(errors="replace")
