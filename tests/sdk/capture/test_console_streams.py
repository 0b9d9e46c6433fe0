"""What a program writes is kept as lines, and what it writes to and reads from stays as it was."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.clients.waiting import until

BEGIN = """
import json, logging, os, sys, threading, time
from modelyard.capture.console import Console
lines = {}
def keep(found):
    for line in found:
        lines[line.number] = line
console = Console(keep)
console.start()
"""
END = """
console.stop()
kept = [[line.stream, line.text] for _, line in sorted(lines.items())]
with open(sys.argv[1], "w") as file:
    json.dump(kept, file)
"""


class Done:
    """What a program wrote, and which lines of it were kept."""

    def __init__(self, result: Path, done: subprocess.CompletedProcess[Any]) -> None:
        self.done = done
        self.kept = [tuple(line) for line in json.loads(result.read_text())]

    def of(self, stream: str) -> list[str]:
        """The lines of one stream."""
        return [text for name, text in self.kept if name == stream]


def run(folder: Path, code: str, *, begin: str = BEGIN, end: str = END, **options: Any) -> Done:
    """Runs a program between BEGIN and END."""
    program = folder / "program.py"
    program.write_text(begin + textwrap.dedent(code) + end)
    options = {"capture_output": True} | options
    command = [sys.executable, str(program), str(folder / "kept.json")]
    done = subprocess.run(command, timeout=60, check=False, **options)
    assert done.returncode == 0, done.stderr
    return Done(folder / "kept.json", done)


def test_print_write_and_writelines_of_both_streams_are_kept(tmp_path: Path) -> None:
    code = """
        print("one", 2)
        sys.stdout.write("no end yet")
        sys.stderr.writelines(["first\\n", "second\\n"])
        logging.warning("careful")
        print(" … now", flush=True)
    """
    done = run(tmp_path, code)
    assert done.of("stdout") == ["one 2", "no end yet … now"]
    assert done.of("stderr") == ["first", "second", "WARNING:root:careful"]
    assert done.done.stdout.decode() == "one 2\nno end yet … now\n"
    assert done.done.stderr.decode() == "first\nsecond\nWARNING:root:careful\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_bytes_are_kept_once_and_text_not_twice(tmp_path: Path, unbuffered: str) -> None:
    code = """
        for number in range(3):
            print("text", number)
            sys.stdout.flush()
            sys.stdout.buffer.write(f"bytes {number}\\n".encode())
            sys.stdout.buffer.write(bytearray(b"\\xff\\n"))
            sys.stdout.buffer.flush()
        print("long " * 10_000)
        sys.stdout.reconfigure(line_buffering=True)
        print("end")
    """
    done = run(tmp_path, code, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    first = [line for number in range(3) for line in (f"text {number}", f"bytes {number}", "�")]
    assert done.of("stdout")[:9] == first
    assert done.of("stdout")[9].startswith("long long")
    assert done.of("stdout")[10:] == ["end"]
    assert done.done.stdout.count(b"text") == done.done.stdout.count(b"bytes") == 3


def test_the_streams_stay_the_same_objects_and_get_their_methods_back(tmp_path: Path) -> None:
    code = """
        assert sys.stdout is sys.__stdout__ and sys.stdout.encoding and sys.stdout.fileno() == 1
        print("seen")
        console.stop()
        assert "write" not in vars(sys.stdout) and "flush" not in vars(sys.stdout)
        assert "write" not in vars(sys.stdout.buffer) and "write" not in vars(sys.stderr)
        print("not seen")
    """
    assert run(tmp_path, code).kept == [("stdout", "seen")]


def test_a_terminal_is_still_one_and_shows_the_same(tmp_path: Path) -> None:
    code = """
        assert sys.stdout.isatty() and sys.stderr.isatty()
        assert os.get_terminal_size(1).columns == 90
        from tqdm import tqdm
        for _ in tqdm(range(50), mininterval=0):
            pass
        print("\\033[32mgreen\\033[0m")
    """
    shown = []
    for begin, end in ((BEGIN, END), ("import os, sys\n", "")):
        master, slave = pty.openpty()
        subprocess.run(["stty", "cols", "90", "rows", "30"], stdin=slave, check=True)
        if end:
            done = run(tmp_path, code, stdout=slave, stderr=slave, stdin=slave, capture_output=False)
        else:
            program = tmp_path / "plain.py"
            program.write_text(begin + textwrap.dedent(code))
            subprocess.run([sys.executable, program], stdout=slave, stderr=slave, stdin=slave, check=True)
        os.close(slave)
        shown.append(_read(master))
    assert done.of("stdout") == ["\x1b[32mgreen\x1b[0m"]
    (bar,) = done.of("stderr")
    assert bar.startswith("100%|")
    assert [text.split(b"\n")[-2:] for text in shown] == [[b"\x1b[32mgreen\x1b[0m\r", b""]] * 2
    assert b"100%|" in shown[0]


def _read(master: int) -> bytes:
    found = b""
    try:
        while part := os.read(master, 1 << 16):
            found += part
    except OSError:  # the other side is closed
        pass
    os.close(master)
    return found


@pytest.mark.parametrize(
    "code",
    [
        "sys.stdout.close()",
        "sys.stdout = None",
        "os.close(1)",
        "sys.stdout = open(os.devnull, 'w')",
        "sys.stdout = type('Own', (), {'write': lambda self, text: None})()",
    ],
)
def test_a_stream_that_goes_away_breaks_nothing(tmp_path: Path, code: str) -> None:
    for begin in (f"import os, sys\n{code}\n{BEGIN}", f"{BEGIN}\n{code}\n"):
        done = run(tmp_path, "print('kept', file=sys.stderr)", begin=begin, end=END + "\nos._exit(0)")
        assert done.of("stderr") == ["kept"]


def test_a_write_that_fails_fails_as_before(tmp_path: Path) -> None:
    code = """
        sys.stdout.reconfigure(encoding="ascii", errors="strict")
        for wrong, kind in (
            (lambda: print("é"), UnicodeEncodeError),
            (lambda: sys.stdout.write(1), TypeError),
            (lambda: sys.stdout.buffer.write("text"), TypeError),
        ):
            try:
                wrong()
            except kind as error:
                pass
            else:
                raise SystemExit(f"no {kind}")
        print("fine")
    """
    assert run(tmp_path, code).of("stdout")[-1] == "fine"


def test_tools_that_wrap_or_replace_the_streams_work_in_any_order(tmp_path: Path) -> None:
    code = """
        import contextlib, io
        with contextlib.redirect_stdout(io.StringIO()) as inner:
            print("for the tool")
        assert inner.getvalue() == "for the tool\\n"
        theirs, before = [], sys.stdout.write
        def write(text):
            theirs.append(text)
            return before(text)
        sys.stdout.write = write
        print("both")
        console.stop()
        print("theirs only")
        assert theirs == ["both", "\\n", "theirs only", "\\n"]
    """
    done = run(tmp_path, code)
    assert done.kept == [("stdout", "both")]
    assert done.done.stdout == b"both\ntheirs only\n"


def test_two_consoles_keep_the_same_and_end_in_any_order(tmp_path: Path) -> None:
    code = """
        other_lines = []
        other = Console(other_lines.extend)
        other.start()
        print("both")
        console.stop()
        print("other")
        other.stop()
        print("none")
        assert [line.text for line in other_lines] == ["both", "other"]
        assert "write" not in vars(sys.stdout)
    """
    assert run(tmp_path, code).kept == [("stdout", "both")]


def test_threads_lose_no_line(tmp_path: Path) -> None:
    code = """
        def write(name):
            for number in range(500):
                sys.stdout.write(f"{name} {number}\\n")
        threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    kept = run(tmp_path, code).of("stdout")
    assert sorted(kept) == sorted(f"{name} {number}" for name in range(8) for number in range(500))


def test_a_keeper_that_hangs_or_fails_never_stops_who_prints(tmp_path: Path) -> None:
    code = """
        def fail(found):
            print("printed while lines are passed on")
            raise RuntimeError
        failing = Console(fail)
        failing.start()
        hanging = Console(lambda found: time.sleep(600))
        hanging.start()
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            print("x" * 1000)
            time.sleep(0.001)
        began = time.monotonic()
        hanging.flush()
        failing.stop()
        assert time.monotonic() - began < 3
    """
    done = run(tmp_path, code, end=END.replace("console.stop()", "console.stop()") + "\nos._exit(0)")
    assert len(done.of("stdout")) > 1000


def test_forked_children_number_their_own_lines_and_repeat_none_of_the_parents(tmp_path: Path) -> None:
    code = """
        print("parent before")
        child = os.fork()
        if not child:
            console._keep = lambda found: [os.write(pipe, f"{one[0]} {one[3]};".encode()) for one in found]
            print("child one")
            print("child two")
            os._exit(0)
        os.waitpid(child, 0)
        print("parent after", os.read(read, 1000).decode())
    """
    done = run(tmp_path, code, begin=BEGIN + "read, pipe = os.pipe()\n")
    assert done.of("stdout") == ["parent before", "parent after 1 child one;2 child two;"]


def test_a_child_that_outlives_its_parent_or_writes_without_end_is_not_kept(tmp_path: Path) -> None:
    code = """
        parent, kept = os.getpid(), []
        for name in ("late", "endless"):
            if not os.fork():
                console._keep = kept.extend
                while name == "late" and os.getppid() == parent:
                    time.sleep(0.01)
                for _ in range(100 if name == "late" else 20_000):
                    print("x" * 1000, file=sys.stderr)
                assert "write" not in vars(sys.stderr)
                size = sum(len(line.text) for line in kept)
                with open(sys.argv[1] + "." + name, "w") as file:
                    file.write(f"{size}.")
                os._exit(0)
    """
    done = run(tmp_path, code, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, capture_output=False)
    assert done.kept == []
    sizes = {}
    for name in ("late", "endless"):
        result = tmp_path / f"kept.json.{name}"
        until(lambda result=result: result.exists() and result.read_text().endswith("."))  # type: ignore[misc]
        sizes[name] = int(result.read_text()[:-1])
    assert sizes["late"] == 0
    assert 0 < sizes["endless"] < 17 << 20


def test_a_flood_costs_bounded_memory_and_the_newest_lines_are_kept(tmp_path: Path) -> None:
    code = """
        import resource
        sys.stdout = open(os.devnull, "w")
        console.stop()
        console = Console(lambda found: keep(found[-1:]))
        console.start()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(400_000):
            print("some text that is long enough to count", number)
        print("the last")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 60_000, grown
    """
    assert run(tmp_path, code).of("stdout")[-1] == "the last"


def test_a_signal_handler_that_prints_in_the_middle_of_a_print_is_no_problem(tmp_path: Path) -> None:
    code = """
        import signal
        heard = []
        def handler(number, frame):
            print("signal", file=sys.stderr); heard.append(1)
            console.flush()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        while len(heard) < 50:
            sys.stdout.write("text\\n")
        signal.setitimer(signal.ITIMER_REAL, 0)
    """
    done = run(tmp_path, code, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, capture_output=False)
    assert set(done.of("stdout")) == {"text"}
    assert len(done.of("stderr")) >= 50


PYTEST = """
import sys
from modelyard.capture.console import Console

def test_inside(capsys):
    found = []
    console = Console(found.extend)
    console.start()
    print("inside")
    console.stop()
    assert [line.text for line in found] == ["inside"]
    assert capsys.readouterr().out == "inside\\n"
    assert "write" not in vars(sys.stdout)

console = Console(lambda found: None)

def test_across_first(capfd):
    console.start()
    print("first")
    assert capfd.readouterr().out == "first\\n"

def test_across_second(capsys):
    print("second")
    console.stop()
    assert capsys.readouterr().out == "second\\n"
"""


@pytest.mark.parametrize("option", ["--capture=fd", "--capture=sys", "--capture=tee-sys", "-s"])
def test_pytest_with_its_own_captures_around_and_inside(tmp_path: Path, option: str) -> None:
    (tmp_path / "test_it.py").write_text(PYTEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", option, "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "3 passed" in done.stdout, done.stdout
