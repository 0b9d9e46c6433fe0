"""Event files are read while they grow: each record once, complete ones only, of one kind of writer."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from modelyard.capture.event_files import EventFiles


def record(content: bytes) -> bytes:
    """A record as TensorBoard's writers frame it."""
    length = struct.pack("<Q", len(content))
    checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, content)]
    return length + checksums[0] + content + checksums[1]


def event_file(folder: Path, ending: str = ".v2", pid: int = os.getpid()) -> Path:
    return folder / f"events.out.tfevents.1700000000.my.host.{pid}.0{ending}"


def test_records_are_read_once_and_when_they_are_complete(tmp_path: Path) -> None:
    file, files = event_file(tmp_path), EventFiles(str(tmp_path), ".v2")
    assert list(files.records()) == []
    half = record(b"second")
    file.write_bytes(record(b"first") + half[:-1])
    assert list(files.records()) == [b"first"]
    assert list(files.records()) == []
    with file.open("ab") as more:
        more.write(half[-1:] + record(b"third" * 1000))
    assert list(files.records()) == [b"second", b"third" * 1000]


def test_what_was_there_before_and_files_of_other_writers_are_left_out(tmp_path: Path) -> None:
    file = event_file(tmp_path)
    file.write_bytes(record(b"before"))
    files = EventFiles(str(tmp_path), ".v2")
    for other in (event_file(tmp_path, ""), event_file(tmp_path, pid=1), tmp_path / "notes.v2"):
        other.write_bytes(record(b"other"))
    with file.open("ab") as more:
        more.write(record(b"after"))
    assert list(files.records()) == [b"after"]


def test_a_folder_that_comes_later_is_read_and_a_broken_file_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    files = EventFiles(str(folder), ".v2")
    assert list(files.records()) == []
    folder.mkdir()
    event_file(folder).write_bytes(record(b"whole") + b"\xff" * 64)
    assert list(files.records()) == [b"whole"]
    assert list(files.records()) == []
