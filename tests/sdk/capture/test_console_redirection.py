"""`console="redirect"` keeps what other programs and compiled code write, and disturbs none of them."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import textwrap
from pathlib import Path
from typing import Any

import pytest

import modelyard
from tests.clients.commands import run_command
from tests.clients.waiting import until

BEGIN = """
import ctypes, os, signal, subprocess, sys, threading, time
import modelyard
run = modelyard.init(id="redirected")
c = ctypes.CDLL(None)
def relay():
    here = os.getpid()
    listing = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(here)]
    found = subprocess.run(listing, capture_output=True, text=True)
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "console_relay" in line]
"""


@pytest.fixture(autouse=True)
def _redirected(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_CONSOLE", "redirect")
    monkeypatch.setenv("MODELYARD_PROJECT", f"redirected-{embedded.parent.name}")


def start(code: str, **options: Any) -> subprocess.Popen[Any]:
    """Starts a program that begins with BEGIN."""
    Path("program.py").write_text(BEGIN + textwrap.dedent(code))
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, "program.py"], **options)


def run(code: str, **options: Any) -> tuple[str, str]:
    """Runs a program; what it wrote to both streams."""
    process = start(code, **options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err


def kept(stream: str = "stdout") -> list[str]:
    """The lines of the run, without our own messages."""
    lines = modelyard.Api().run(f"{os.environ['MODELYARD_PROJECT']}/redirected").console_lines()
    return [line.text for line in lines if line.stream == stream and not line.text.startswith("modelyard:")]


def test_python_compiled_code_and_programs_are_kept_in_their_order() -> None:
    code = """
        print("python")
        sys.stdout.flush()
        c.printf(b"compiled without an end of line")
        c.fflush(None)
        subprocess.run("echo; echo program; echo wrong >&2", shell=True)
        os.write(1, "bytes é\\n".encode())
        print("unflushed")
        c.printf(b"unflushed too\\n")
        run.finish()
        print("not kept")
        subprocess.run(["echo", "not kept either"])
    """
    out, err = run(code)
    lines = ["python", "compiled without an end of line", "program", "bytes é", "unflushed", "unflushed too"]
    assert kept() == lines
    assert kept("stderr") == ["wrong"]
    assert "wrong\n" in err
    assert sorted(out.splitlines()) == sorted([*lines, "not kept", "not kept either"])


def test_compiled_code_may_write_without_end_while_it_holds_the_interpreters_lock() -> None:
    code = """
        holding = ctypes.PyDLL(None)
        text = b"x" * 999 + b"\\n"
        for _ in range(5000):
            holding.write(2, text, len(text))
        holding.write(2, b"last\\n", 5)
    """
    _, err = run(code)
    assert err.count("x" * 999) == 5000
    assert kept("stderr")[-1] == "last"


def test_a_child_that_outlives_the_run_and_the_program_goes_on_writing() -> None:
    code = """
        child = "read x; echo after the run; echo $? > one; read x; echo after the program; echo $? > two"
        waiting = subprocess.Popen(["sh", "-c", child])
        print("kept", flush=True)
        run.finish()
        print("finished", flush=True)
    """
    process = start(code, stdin=subprocess.PIPE, text=False)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"kept\n"
    assert process.stdout.readline() == b"finished\n"
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"after the run\n"
    process.wait(60)
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"after the program\n"
    assert process.stdout.read() == b""  # nothing keeps the pipe open any more
    assert [Path(name).read_text() for name in ("one", "two")] == ["0\n", "0\n"]
    assert kept() == ["kept"]
    process.communicate()


def test_the_last_words_of_a_crash_are_shown_and_sent_by_sync() -> None:
    code = """
        print("before", flush=True)
        c.perror(b"compiled code gives up")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    process = start(code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert out == "before\n"
    assert err.splitlines()[-1].startswith("compiled code gives up")
    until(lambda: "crashed" in run_command("sync") or len(kept()) == 1)
    assert kept() == ["before"]
    assert kept("stderr")[-1].startswith("compiled code gives up")


def test_a_relay_that_is_killed_stops_nobody_and_loses_nothing_that_is_shown() -> None:
    code = """
        script = "while [ ! -e done ]; do sleep 0.01; done; echo child; echo $? > ended"
        child = subprocess.Popen(script, shell=True)
        (helper,) = relay()
        os.kill(helper, signal.SIGKILL)
        for number in range(2000):
            print("x" * 100, number, flush=True)
        while os.readlink("/proc/self/fd/1") != os.environ["OUT"]:
            time.sleep(0.01)
        print("kept", flush=True)
        open("done", "w").close()
        child.wait()
        run.finish()
    """
    read, write = os.pipe()
    out = b""
    process = start(code, stdout=write, env={**os.environ, "OUT": os.readlink(f"/proc/self/fd/{write}")})
    os.close(write)
    while part := os.read(read, 1 << 16):
        out += part
    os.close(read)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.count(b"x" * 100) == 2000
    assert [out.count(text) for text in (b"child", b"kept")] == [1, 1]
    assert Path("ended").read_text() == "0\n"
    assert "has ended early" in err
    assert kept()[-1] == "kept"


@pytest.mark.parametrize("gone", ["closed", "reader gone", "full"])
def test_a_stream_that_takes_nothing_does_not_stop_the_program(gone: str) -> None:
    code = """
        for number in range(3000):
            print("x" * 100, number)
        print("last", file=sys.stderr)
    """
    command = {
        "closed": "exec {python} program.py >&-",
        "reader gone": "({python} program.py; echo $? > status) | true; exit $(cat status)",
        "full": "exec {python} program.py > /dev/full",
    }[gone]
    Path("program.py").write_text(BEGIN + textwrap.dedent(code))
    shell = ["sh", "-c", command.format(python=sys.executable)]
    done = subprocess.run(shell, timeout=60, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert kept("stderr")[-1] == "last"
    assert len(kept()) == (0 if gone == "closed" else 3000)


def test_a_second_run_keeps_what_python_writes() -> None:
    code = """
        other = modelyard.init(id="other", reinit="create_new")
        print("both")
        other.finish()
        print("first", flush=True)
        subprocess.run(["echo", "program"])
    """
    _, err = run(code)
    assert "redirected for another run already" in err
    assert kept() == ["both", "first", "program"]


def test_a_redirection_of_the_program_itself_is_left_alone() -> None:
    code = """
        print("kept", flush=True)
        os.dup2(os.open("own.txt", os.O_CREAT | os.O_WRONLY), 1)
        run.finish()
        print("own", flush=True)
    """
    out, _ = run(code)
    assert out == "kept\n"
    assert Path("own.txt").read_text() == "own\n"


def test_a_terminal_stays_one_of_the_same_size_and_shows_the_same() -> None:
    code = """
        size = os.get_terminal_size
        assert sys.stdout.isatty() and sys.stderr.isatty()
        assert os.readlink("/proc/self/fd/1") != os.readlink("/proc/self/fd/0")
        assert size(1).columns == size(2).columns == 90
        from tqdm import tqdm
        for _ in tqdm(range(50), mininterval=0):
            pass
        print("\\033[32mgreen\\033[0m", flush=True)
        while size(1).columns != 120:
            time.sleep(0.01)
        run.finish()
        assert os.readlink("/proc/self/fd/1") == os.readlink("/proc/self/fd/0")
        print("end")
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    process = start(code, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 1 << 16):
            shown += part
            if b"green" in shown:
                fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    except OSError:  # the other side is closed
        pass
    os.close(master)
    assert process.wait(60) == 0, shown
    assert b"100%|" in shown
    assert b"\x1b[32mgreen\x1b[0m\r\n" in shown
    assert shown.endswith(b"end\r\n")
    assert kept() == ["\x1b[32mgreen\x1b[0m"]
    (bar,) = [line for line in kept("stderr") if "|" in line]
    assert bar.startswith("100%|")


def test_a_signal_that_ends_the_program_loses_no_line() -> None:
    code = """
        print("ready", flush=True)
        while True:
            time.sleep(0.01)
    """
    process = start(code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, err
    assert kept() == ["ready"]
