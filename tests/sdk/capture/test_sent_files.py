"""How files of runs are sent: beside the rows, by chunks, many at once, whatever is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard.configuration.settings import current
from modelyard.spool.folders import RunFolder
from modelyard.v1 import run_file_pb2
from modelyard.workspace import Workspace
from tests.clients.commands import run_command
from tests.clients.waiting import until
from tests.parts.fork_server import start_python
from tests.parts.server import LiveServer
from tests.parts.tcp_proxy import TcpProxy

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _nothing_but_saved_files(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_X_SAVE_REQUIREMENTS", "false")


def listed(path: str) -> dict[str, int]:
    """Sizes of the files that a run has on the server, by path."""
    stubs = Workspace(current()).connection.run_files
    run_id = modelyard.Api().run(path)._record.id
    request = run_file_pb2.ListRunFilesRequest(run_id=run_id, page_size=1000)
    return {file.path: file.size_bytes for file in stubs.ListRunFiles(request).files}


def content(path: str, name: str) -> bytes:
    return b"".join(modelyard.Api().run(path).file(name)._data())


@pytest.fixture
def slow(work: Path, any_live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """A way to the server over which runs of this process go."""
    with TcpProxy(any_live_server.port) as proxy:
        monkeypatch.setenv("MODELYARD_URL", f"grpc://{proxy.address}")
        yield proxy


def killed(program: str) -> str:
    """Runs a program until it prints the path of its run as its last line, and kills it."""
    process = start_python("-c", textwrap.dedent(program), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    return path


def test_rows_go_on_while_a_large_file_is_sent(slow: TcpProxy) -> None:
    data = os.urandom(24 * MIB)
    Path("large.bin").write_bytes(data)
    run = modelyard.init()
    slow.bytes_per_second = 4 * MIB
    run.save("large.bin", policy="now")
    until(lambda: slow.received > MIB)
    for step in range(100):
        run.log({"a": step})
    until(lambda: len(list(modelyard.Api().run(run.path).scan_history())) == 100, seconds=10)
    assert listed(run.path) == {}
    slow.bytes_per_second = None
    run.finish()
    assert content(run.path, "large.bin") == data


def test_only_what_changed_of_a_large_file_is_sent_again(slow: TcpProxy) -> None:
    data = bytearray(os.urandom(16 * MIB))
    Path("model.bin").write_bytes(data)
    with modelyard.init() as run:
        run.save("model.bin")
        until(lambda: listed(run.path) == {"model.bin": len(data)})
        before = slow.received
        data[5 * MIB : 5 * MIB + 10] = b"0123456789"
        Path("model.bin").write_bytes(data)
        run.save("model.bin", policy="now")
    assert slow.received - before < 6 * MIB
    assert content(run.path, "model.bin") == bytes(data)


def test_thousands_of_small_files_arrive(work: Path) -> None:
    Path("many").mkdir()
    for number in range(1500):
        Path(f"many/{number:04d}.txt").write_text(f"file {number}")
    with modelyard.init() as run:
        assert len(run.save("many/*.txt", policy="now")) == 1500
    found = modelyard.Api().run(run.path).files()
    assert [file.name for file in found] == [f"many/{number:04d}.txt" for number in range(1500)]
    for number in (0, 777, 1499):
        assert content(run.path, f"many/{number:04d}.txt") == f"file {number}".encode()


def test_a_file_that_is_refused_costs_the_others_of_its_batch_nothing(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{number}.txt" for number in range(20)]
    with modelyard.init() as run:
        for number, name in enumerate(names):
            Path(name).write_text(f"file {number}")
            run._tracking.send_file("bad\a name" if number == 13 else name, os.path.abspath(name))
    assert listed(run.path) == {name: len(f"file {n}") for n, name in enumerate(names) if n != 13}
    assert "name is not sent" in capsys.readouterr().err


def test_a_file_that_grows_all_the_time_is_sent(work: Path) -> None:
    line = b"x" * 99 + b"\n"
    with open("train.log", "ab", buffering=0) as log:
        log.write(line * 20_000)
        with modelyard.init() as run:
            run.save("train.log")
            for _ in range(300):
                log.write(line * 100)
                run.log({"a": 1})
    assert content(run.path, "train.log") == Path("train.log").read_bytes()


def test_what_changed_after_it_was_sent_is_sent_by_sync(work: Path) -> None:
    path = killed(
        """
        import time, modelyard
        from pathlib import Path
        run = modelyard.init()
        for policy in ("live", "end", "now"):
            Path(policy).write_text("first")
            run.save(policy, policy=policy)
        while run._tracking._files.unsent:
            time.sleep(0.02)
        print(run.path, flush=True)
        time.sleep(600)
        """
    )
    assert set(listed(path)) == {"live", "now"}
    for policy in ("live", "end", "now"):
        Path(policy).write_text("then changed")
    run_command("sync")
    assert {name: content(path, name) for name in listed(path)} == {
        "live": b"then changed",
        "end": b"then changed",
        "now": b"first",
    }
    assert not list(Path("modelyard").glob("*/file-spool")), "what is sent is removed"


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_save_files_too(work: Path, how: str) -> None:
    Path("program.py").write_text(
        textwrap.dedent(
            f"""
            import multiprocessing
            from pathlib import Path
            import modelyard
            def work(run):
                for policy in ("now", "live", "end"):
                    Path(policy).write_text(policy)
                    run.save(policy, policy=policy)
            if __name__ == "__main__":
                with modelyard.init() as run:
                    child = multiprocessing.get_context({how!r}).Process(target=work, args=(run,))
                    child.start()
                    child.join()
                print(run.path)
            """
        )
    )
    done = start_python(os.path.abspath("program.py"), stdout=subprocess.PIPE, text=True)
    path = done.communicate(timeout=120)[0].strip()
    assert {name: content(path, name) for name in listed(path)} == {
        name: name.encode() for name in ("now", "live", "end")
    }


def test_a_file_that_a_run_could_not_send_is_named_and_sent_by_sync(
    slow: TcpProxy, any_live_server: LiveServer, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = os.urandom(8 * MIB)
    Path("large.bin").write_bytes(data)
    monkeypatch.setenv("MODELYARD_FINISH_TIMEOUT", "1")
    run = modelyard.init()
    slow.bytes_per_second = 512 << 10
    run.save("large.bin", policy="now")
    until(lambda: slow.received > 512 << 10)
    slow.silent = True
    run.finish()
    assert "1 file and the end of run" in capsys.readouterr().err
    assert RunFolder(Path(run.dir).parent).file_spools.writers()
    slow.silent, slow.bytes_per_second = False, None
    slow.cut()
    # The threads of the run give up the folder when their last call has ended.
    until(lambda: run_command("sync").returncode == 0 and bool(listed(run.path)))
    assert content(run.path, "large.bin") == data
