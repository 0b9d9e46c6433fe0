"""What was written to a spool is read again, whole and once, wherever its writer stopped."""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from modelyard.spool import reader as spool_reader
from modelyard.spool import records
from modelyard.spool import writer as spool_writer
from modelyard.spool.reader import BEGIN, Position, SpoolReader
from modelyard.spool.records import Record
from modelyard.spool.rows import Row
from modelyard.spool.writer import SpoolWriter
from modelyard.sync.curves import Curves
from tests.parts.system.disks import DiskFactory, disk_factory

__all__ = ["disk_factory"]

ODD: list[dict[str, Any]] = [
    {"loss": 0.5, "n": 3, "ok": True},
    {"loss": math.inf, "n": -(1 << 63)},
    {"loss": -0.0, "n": (1 << 63) - 1},
    {"text": "é\ud800\0\n", "none": None, "list": [1, 2.5, [True, None]], "empty": ""},
    {"ключ": 1.0, "a.b": 2},
    {f"metric_{number}": number / 3 for number in range(2_000)},
    {"long": "x" * 3_000_000},
]


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments and reads of some rows, so that a test has many."""
    monkeypatch.setattr(spool_writer, "SEGMENT_BYTES", 4_000)
    monkeypatch.setattr(spool_reader, "CHUNK_BYTES", 700)


def write(writer: SpoolWriter, step: int, points: Mapping[str, Any], **more: Any) -> None:
    """Writes a row as `run.log` does."""
    with writer.lock:
        writer.row(step, 1000.0 + step, points, more.pop("paths", {}), **more)


def read(reader: SpoolReader, *, ended: bool = True) -> Iterator[tuple[int, Row]]:
    """The rows of a spool with their numbers."""
    while chunk := reader.read():
        yield from _rows(chunk)
    if ended and (chunk := reader.rest()):
        yield from _rows(chunk)


def _rows(chunk: spool_reader.Chunk) -> Iterator[tuple[int, Row]]:
    rows = [item for item in chunk.items if isinstance(item, Row)]
    return enumerate(rows, chunk.first_row)


def points(spool: Path, position: Position = BEGIN) -> list[dict[str, Any]]:
    """The points of the rows of a spool whose process has ended."""
    return [row.points for _, row in read(SpoolReader(spool, position))]


def test_rows_come_back_as_they_were_logged(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    for step, row in enumerate(ODD):
        write(writer, step, row)
    found = list(read(SpoolReader(writer.folder)))
    assert [number for number, _ in found] == list(range(len(ODD)))
    for step, (_, row) in enumerate(found):
        assert (row.step, row.timestamp) == (step, 1000.0 + step)
        assert repr(row.points) == repr(ODD[step]), "equal in kind and sign, too"


def test_nan_stays_nan(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 0, {"number": math.nan})
    write(writer, 1, {"among others": [math.nan], "text": "x"})
    first, second = points(writer.folder)
    assert math.isnan(first["number"])
    assert math.isnan(second["among others"][0])


def test_reading_goes_on_from_every_position(tmp_path: Path, small_segments: None) -> None:
    generator = random.Random(5)
    writer = SpoolWriter(tmp_path)
    logged = []
    for step in range(600):
        row: dict[str, Any] = {"a": step, "b": step / 2} | ({"text": "x"} if generator.random() < 0.2 else {})
        if generator.random() < 0.3:
            write(writer, step, row, is_open=True)
            row = row | {"more": {}, "c": 1}
            del row["more"]
            write(writer, step, {"c": 1}, paths={"c": ("nested", "c")})
        else:
            write(writer, step, row)
        logged.append(row)
    reader, position, seen = SpoolReader(writer.folder), Position(), 0
    assert len(reader.segments()) > 5
    while True:
        assert position.row == seen
        assert points(writer.folder, position) == logged[seen:]
        chunk = reader.read()
        if chunk is None:
            break
        seen, position = chunk.end.row, chunk.end
    assert seen == 600


def test_an_open_row_grows_and_is_complete_with_the_next_or_the_end(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 3, {"a": 1}, is_open=True)
    write(writer, 3, {"b": 2.5}, is_open=True, paths={"b": ("x", "b")})
    reader = SpoolReader(writer.folder)
    assert list(read(reader, ended=False)) == []
    write(writer, 4, {"a": 2})
    (_, row), (_, following) = read(reader, ended=False)
    assert (row.step, row.points, dict(row.paths)) == (3, {"a": 1, "b": 2.5}, {"b": ("x", "b")})
    assert following.points == {"a": 2}
    write(writer, 9, {"last": 1}, is_open=True)
    assert points(writer.folder)[2:] == [{"last": 1}], "a killed process leaves it so"
    with writer.lock:
        writer.end_row()
    assert [row.points for _, row in read(reader, ended=False)] == [{"last": 1}]


def test_other_records_keep_their_place_among_rows(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 0, {"a": 1})
    writer.change(records.FIELDS, {"config.lr": 0.1})
    write(writer, 1, {"a": 2})
    chunk = SpoolReader(writer.folder).read()
    assert chunk is not None
    assert [item if isinstance(item, Record) else item.points for item in chunk.items] == [
        {"a": 1},
        Record(records.FIELDS, {"config.lr": 0.1}),
        {"a": 2},
    ]


def test_definitions_are_known_from_every_segment_on(tmp_path: Path, small_segments: None) -> None:
    writer = SpoolWriter(tmp_path)
    writer.define("val", {"name": "val", "kinds": ["min"]})
    for step in range(400):
        write(writer, step, {"val": step / 2})
    positions = []
    reader = SpoolReader(writer.folder)
    while chunk := reader.read():
        positions.append(chunk.end)
    assert positions[-1].segment > 2
    for position in positions[:-1]:
        chunk = SpoolReader(writer.folder, position).read()
        assert chunk is not None
        assert Record(records.DEFINITION, {"name": "val", "kinds": ["min"]}) in chunk.items


def test_a_file_that_ends_in_the_middle_of_a_record_has_the_rows_before_it(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    for step in range(5):
        write(writer, step, {"a": step, "text": "x"})
    (file,) = writer.folder.glob("*.spool")
    whole = file.read_bytes()
    lengths = []
    for size in range(len(whole) + 1):
        file.write_bytes(whole[:size])
        lengths.append(len(points(writer.folder)))
    assert lengths == sorted(lengths)
    assert set(lengths) == set(range(6))


def test_a_damaged_record_costs_the_rest_of_its_segment_alone(tmp_path: Path, small_segments: None) -> None:
    writer = SpoolWriter(tmp_path)
    for step in range(500):
        write(writer, step, {"a": step})
    first = min(writer.folder.glob("*.spool"))
    damaged = bytearray(first.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    first.write_bytes(damaged)
    found = list(read(SpoolReader(writer.folder)))
    assert all(number == row.step == row.points["a"] for number, row in found)
    numbers = [number for number, _ in found]
    lost = sorted(set(range(500)) - set(numbers))
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert 20 < len(lost) < 100


def test_zeros_that_a_power_cut_leaves_are_no_rows(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 0, {"a": 1})
    (file,) = writer.folder.glob("*.spool")
    with open(file, "ab") as appended:
        appended.write(bytes(4096))
    assert points(writer.folder) == [{"a": 1}]


def test_a_forked_child_writes_a_spool_of_its_own(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 0, {"from": 0})
    parent = writer.folder
    child = os.fork()
    if child == 0:
        write(writer, 1, {"from": 1})
        os._exit(0 if writer.folder != parent else 1)
    assert os.waitpid(child, 0)[1] == 0
    write(writer, 1, {"from": 0})
    others = [folder for folder in tmp_path.iterdir() if folder != parent]
    assert points(parent) == [{"from": 0}, {"from": 0}]
    assert [points(folder) for folder in others] == [[{"from": 1}]]


def test_a_full_disk_costs_no_row_and_no_wait(
    tmp_path: Path,
    disk_factory: DiskFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool_writer, "RETRY_SECONDS", 0.0)
    disk = disk_factory("spool", 1 << 20)
    writer = SpoolWriter(disk.path / "spools")
    write(writer, 0, {"a": 0})
    disk.fill()
    for step in range(1, 3_000):
        write(writer, step, {"a": step})
    reader = SpoolReader(writer.folder, memory=writer.memory_segment)
    assert [row.step for _, row in read(reader, ended=False)] == list(range(3_000)), "memory has the rest"
    disk.empty()
    for step in range(3_000, 3_100):
        write(writer, step, {"a": step})
    assert [row.step for _, row in read(reader, ended=False)] == list(range(3_000, 3_100))
    assert [row["a"] for row in points(writer.folder)] == list(range(3_100)), "all of it is on the disk now"
    assert capsys.readouterr().err.count("cannot write to") == 1


def test_an_open_row_goes_on_across_a_full_disk(tmp_path: Path, disk_factory: DiskFactory) -> None:
    disk = disk_factory("spool", 1 << 20)
    writer = SpoolWriter(disk.path / "spools")
    write(writer, 5, {"a": 1}, is_open=True)
    disk.fill()
    step = 5
    while not writer._memory:
        write(writer, 5, {f"b{step}": "x" * 500}, is_open=True)
        step += 1
    write(writer, 5, {"c": 1})
    ((number, row),) = read(SpoolReader(writer.folder, memory=writer.memory_segment), ended=False)
    assert (number, row.step, row.points["a"], row.points["c"]) == (0, 5, 1, 1)
    assert len(row.points) == 2 + step - 5


def test_memory_is_bounded_while_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_writer, "MEMORY_BYTES", 50_000)
    monkeypatch.setattr(spool_writer, "SEGMENT_BYTES", 4_000)
    (tmp_path / "file").touch()
    writer = SpoolWriter(tmp_path / "file" / "spools")
    reader = SpoolReader(writer.folder, memory=writer.memory_segment)
    for step in range(2_000):
        write(writer, step, {"a": step})
    kept = [row.step for _, row in read(reader, ended=False)]
    assert 0 < len(kept) == 2_000 - writer.rows_dropped
    assert kept == list(range(len(kept)))
    writer.discard_before(writer._segment)
    write(writer, 2_000, {"a": 2_000})
    assert [(number, row.step) for number, row in read(reader, ended=False)] == [(len(kept), 2_000)]


LIMITED = """
import resource, sys
from pathlib import Path
from modelyard.spool.reader import SpoolReader
from modelyard.spool.writer import SpoolWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
writer = SpoolWriter(Path(sys.argv[1]))
for step in range(1_000):
    with writer.lock:
        writer.row(step, 1.0, {"a": step}, {})
reader, steps = SpoolReader(writer.folder, memory=writer.memory_segment), []
while chunk := reader.read():
    steps += [item.step for item in chunk.items]
assert steps == list(range(1_000)), len(steps)
"""


def test_a_limit_on_the_size_of_files_costs_no_row(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LIMITED, tmp_path], check=True, timeout=60)


ENDLESS = """
import os, sys
from pathlib import Path
from modelyard.spool.writer import SpoolWriter
writer = SpoolWriter(Path(sys.argv[1]))
step = 0
while True:
    with writer.lock:
        writer.row(step, 1.0, {"a": step, "b": 0.5} if step % 3 else {"a": step, "t": "x"}, {})
    step += 1
    os.write(1, step.to_bytes(8, "little"))
"""


def test_a_killed_process_has_written_every_row_that_it_logged(tmp_path: Path) -> None:
    for turn in range(10):
        folder = tmp_path / str(turn)
        with subprocess.Popen([sys.executable, "-c", ENDLESS, folder], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = process.stdout.read(8 * random.Random(turn).randrange(1, 20_000))
            process.send_signal(signal.SIGKILL)
            said += process.stdout.read()
        (logged,) = struct.unpack("<q", said[len(said) // 8 * 8 - 8 : len(said) // 8 * 8])
        (spool,) = folder.iterdir()
        steps = [row["a"] for row in points(spool)]
        assert steps == list(range(len(steps)))
        assert len(steps) in {logged, logged + 1}


def test_a_spool_that_was_closed_takes_nothing_more(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    write(writer, 0, {"a": 1})
    writer.close()
    writer.change(records.FIELDS, {"set": {"config.lr": 1}, "removed": []})
    assert points(writer.folder) == [{"a": 1}]
    assert [folder.name for folder in tmp_path.iterdir()] == [writer.writer]


def test_curves_are_even_samples_however_rows_arrive() -> None:
    whole, parts = Curves(), Curves()
    rows = [Row(step, 1.0, ("a", "text"), (float(step), "x")) for step in range(5_000)]
    whole.add(rows)
    generator, at = random.Random(2), 0
    while at < len(rows):
        size = generator.randrange(1, 700)
        parts.add(rows[at : at + size])
        at += size
    assert whole.points == parts.points
    curve = whole.points["a"]
    assert 100 <= len(curve) < 200
    assert {after - before for before, after in itertools.pairwise(curve)} == {32.0}
    assert curve[0] == 0.0
