"""Logging unchanged files again takes one look at each file, and one call."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from modelyard import errors
from modelyard.cache.content import Cache
from modelyard.cache.upload_index import FINE_NS, UploadIndex, is_settled
from modelyard.contract.chunking import Chunk, chunk_digest, cut
from modelyard.host.local_files import LocalFile
from modelyard.rpc.connection import Connection
from modelyard.rpc.records import FileEntry
from modelyard.transfer import transfer
from modelyard.transfer.file_reader import Source
from tests.clients.counted_stub import CountedStub
from tests.clients.transfers import Meter, connection, contents_of, data_folder, files_in, new_version, way
from tests.parts.fork_server import start_python
from tests.sdk.transfer.test_chunking import MIB, stream

__all__ = ["connection", "data_folder", "way"]

pytest.importorskip("modelyard_server", reason="the server extra is not installed")


class Counted:
    """A connection that counts the calls made through it."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()
        self.artifacts: Any = CountedStub(inner.artifacts, self.calls)
        self.uploads: Any = CountedStub(inner.uploads, self.calls)
        self.local: Any = CountedStub(inner.local, self.calls)
        self.shares_disk = inner.shares_disk

    @property
    def channel(self) -> Any:
        return self._inner.channel

    def reconnect(self) -> None:
        self._inner.reconnect()

    def may_have_moved(self, error: errors.CommError) -> bool:
        return self._inner.may_have_moved(error)


class Folder:
    """Files that are logged again and again, with a cache of their own."""

    def __init__(self, connection: Connection, place: Path, contents: dict[str, bytes]) -> None:
        self.cache = Cache(place / "cache")
        self.files = files_in(place / "in", contents)
        self.place = place / "in"
        self._connection = connection
        self.calls: Counter[str] = Counter()
        self.meter = Meter()
        settle()

    def log(self, name: str) -> tuple[Any, bool]:
        """Logs all files; `calls` and `meter` then hold what it took."""
        counted, self.meter = Counted(self._connection), Meter()
        found = transfer.upload(counted, new_version(name), self.files, progress=self.meter, cache=self.cache)
        self.calls = counted.calls
        return found


def settle() -> None:
    """Waits until a file that is written now has other times than before."""
    time.sleep(4 * FINE_NS / 1e9)


CONTENTS = {f"deep/{number}": stream(f"file {number}", 10_000 + number) for number in range(40)} | {
    "large": stream("large", 5 * MIB),
    "empty": b"",
}


def test_a_folder_that_did_not_change_takes_one_call(connection: Connection, tmp_path: Path) -> None:
    folder = Folder(connection, tmp_path, CONTENTS)
    first, created = folder.log("relog")
    assert created
    again, created = folder.log("relog")
    assert (again.id, created) == (first.id, False)
    assert folder.calls == {"CommitEqualContent": 1}
    assert folder.meter.already == folder.meter.total == folder.meter.done


def test_known_files_under_another_name_are_neither_read_nor_sent(
    connection: Connection, tmp_path: Path
) -> None:
    folder = Folder(connection, tmp_path, CONTENTS)
    folder.log("known-one")
    version, created = folder.log("known-two")
    assert created
    assert folder.calls == {"CommitEqualContent": 2}  # what the listing was, and what the files are
    assert folder.meter.already == folder.meter.total
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == CONTENTS


def test_small_content_in_new_files_takes_one_call(connection: Connection, tmp_path: Path) -> None:
    contents = {"deep/model": stream("small", 300_000), "config": b"{}", "empty": b""}
    Folder(connection, tmp_path / "one", contents).log("small-one")
    moved = {f"moved/{path}": data for path, data in contents.items()}
    folder = Folder(connection, tmp_path / "two", moved)
    version, created = folder.log("small-two")
    assert created
    assert folder.calls == {"CommitEqualContent": 1}
    assert folder.meter.already == folder.meter.total == 300_002
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == moved


def test_small_content_that_is_new_is_sent_without_another_call(
    connection: Connection, tmp_path: Path
) -> None:
    contents = {"model": stream("small and new", 300_000)}
    folder = Folder(connection, tmp_path, contents)
    version, created = folder.log("small-new")
    assert created
    assert folder.calls["CommitEqualContent"] == 1
    assert folder.calls["CreateUpload"] == 0
    assert folder.meter.moved == 300_000
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents


def test_only_the_file_that_changed_is_read(connection: Connection, tmp_path: Path) -> None:
    folder = Folder(connection, tmp_path, CONTENTS)
    folder.log("changed-one")
    (folder.place / "deep/7").write_bytes(b"changed")
    settle()
    version, created = folder.log("changed-one")
    assert created
    assert folder.meter.moved == len(b"changed")
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == CONTENTS | {"deep/7": b"changed"}


def test_a_change_that_keeps_size_and_time_is_detected(connection: Connection, tmp_path: Path) -> None:
    folder = Folder(connection, tmp_path, {"model": b"before"})
    first, _ = folder.log("hidden")
    before = os.stat(folder.place / "model")
    with open(folder.place / "model", "r+b") as file:
        file.write(b"after!")
    os.utime(folder.place / "model", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(folder.place / "model")
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    version, created = folder.log("hidden")
    assert created
    assert version.digest != first.digest
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"model": b"after!"}


def test_a_file_written_a_moment_ago_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"fresh")
    source = Source.of(LocalFile("model", path))
    source.noted_ns = source.changed_ns + FINE_NS // 2
    source.chunks = [Chunk(chunk_digest(b"fresh"), 5)]
    known = UploadIndex(tmp_path / "known")
    known.remember([source])
    later = Source.of(source.file)
    known.recall([later])
    assert not later.recalled


def test_a_file_with_coarse_times_is_trusted_after_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"coarse")
    source = Source.of(LocalFile("model", path))
    source.changed_ns = source.noted_ns // 10**9 * 10**9
    source.noted_ns = max(source.modified_ns, source.changed_ns) + 1_900_000_000
    assert not is_settled(source)
    source.noted_ns += 200_000_000
    assert is_settled(source)


def test_a_version_that_was_deleted_is_made_again(connection: Connection, tmp_path: Path) -> None:
    from modelyard.rpc import version_calls

    folder = Folder(connection, tmp_path, CONTENTS)
    first, _ = folder.log("deleted")
    version_calls.delete_version(connection, first.id, True)
    again, created = folder.log("deleted")
    assert created
    assert again.number == first.number + 1
    transfer.download(connection, again, tmp_path / "out")
    assert contents_of(tmp_path / "out") == CONTENTS


def test_bytes_that_the_server_misses_are_read_and_sent(connection: Connection, tmp_path: Path) -> None:
    folder = Folder(connection, tmp_path, {name: data[::-1] for name, data in CONTENTS.items()})
    sources = [Source.of(file) for file in folder.files]
    for source in sources:
        source.chunks = cut(source.file.source.read_bytes())
    folder.cache.upload_index().remember(sources)  # as after logging to another server
    version, created = folder.log("missed")
    assert created
    assert folder.meter.moved == folder.meter.total
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents_of(folder.place)


def test_wrong_entries_of_the_index_are_never_sent(connection: Connection, tmp_path: Path) -> None:
    folder = Folder(connection, tmp_path, {"model": b"what is there"})
    source = Source.of(folder.files[0])
    source.chunks = [Chunk(chunk_digest(b"something else"), source.size)]
    folder.cache.upload_index().remember([source])
    version, _ = folder.log("misremembered")
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"model": b"what is there"}
    assert folder.log("misremembered")[0].id == version.id
    assert folder.calls == {"CommitEqualContent": 1}


def test_many_wrong_entries_of_the_index_raise_an_error_to_log_again(
    connection: Connection, tmp_path: Path
) -> None:
    contents = {f"part-{number}": stream(f"wrong {number}", MIB) for number in range(3)}
    folder = Folder(connection, tmp_path, contents)
    sources = [Source.of(file) for file in folder.files]
    for source in sources:
        right = cut(source.file.source.read_bytes())
        source.chunks = [Chunk(chunk_digest(chunk.digest), chunk.size) for chunk in right]
    folder.cache.upload_index().remember(sources)
    with pytest.raises(errors.Error, match=r"part-\d was changed since .* Log again"):
        folder.log("many-wrong")
    version, created = folder.log("many-wrong")
    assert created
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 1000])
def test_a_damaged_index_only_costs_reading(connection: Connection, tmp_path: Path, damage: bytes) -> None:
    folder = Folder(connection, tmp_path, CONTENTS)
    first, _ = folder.log("damaged")
    (folder.cache.folder / "logged.sqlite").write_bytes(damage)
    for _ in range(2):
        again, created = folder.log("damaged")
        assert (again.id, created) == (first.id, False)
    assert folder.calls == {"CommitEqualContent": 1}


def test_a_flipped_bit_in_the_index_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"content")
    settle()
    source = Source.of(LocalFile("model", path))
    source.chunks = [Chunk(chunk_digest(b"content"), 7)]
    known = UploadIndex(tmp_path / "known")
    known.remember([source])
    data = bytearray((tmp_path / "known").read_bytes())
    data[data.index(source.chunks[0].digest)] ^= 1
    (tmp_path / "known").write_bytes(data)
    later = Source.of(source.file)
    known.recall([later])
    assert not later.recalled


def test_the_index_is_bounded_and_drops_the_oldest_first(tmp_path: Path) -> None:
    known = UploadIndex(tmp_path / "known", max_bytes=1 << 20)
    rounds = []
    for number in range(8):
        files = files_in(tmp_path / str(number), {f"{index}": b"x" * 200 for index in range(40)})
        settle()
        sources = [Source.of(file) for file in files]
        for source in sources:
            source.chunks = [Chunk(chunk_digest(bytes([index])), 1) for index in range(200)]
        known.remember(sources)
        rounds.append(files)
    assert (tmp_path / "known").stat().st_size < 3 << 20
    newest = [Source.of(file) for file in rounds[-1]]
    oldest = [Source.of(file) for file in rounds[0]]
    known.recall([*newest, *oldest])
    assert all(source.recalled for source in newest)
    assert not any(source.recalled for source in oldest)


def test_a_file_that_is_present_twice_is_known_twice(connection: Connection, tmp_path: Path) -> None:
    folder = Folder(connection, tmp_path, {"one": b"the same file"})
    folder.files.append(LocalFile("two", folder.files[0].source))
    folder.log("twice")
    folder.log("twice")
    assert folder.calls == {"CommitEqualContent": 1}


def test_a_listing_is_known_only_as_a_whole(tmp_path: Path) -> None:
    files = files_in(tmp_path, {"one": b"1", "two": b"22"})
    settle()
    sources = [Source.of(file) for file in files]
    known = UploadIndex(tmp_path / "known")
    known.remember_digest(sources, [], b"d" * 32)
    assert known.digest([Source.of(file) for file in files], []) == b"d" * 32
    renamed = [LocalFile("three", files[0].source), files[1]]
    reference = FileEntry("far", 1, uri="https://example.com/far", tag="1")
    assert known.digest([Source.of(file) for file in renamed], []) is None
    assert known.digest([Source.of(file) for file in files[:1]], []) is None
    assert known.digest([Source.of(file) for file in files], [reference]) is None
    os.utime(files[0].source, ns=(1, 1))
    assert known.digest([Source.of(file) for file in files], []) is None


def test_a_listing_with_a_fresh_file_is_not_kept(tmp_path: Path) -> None:
    (file,) = files_in(tmp_path, {"one": b"1"})
    source = Source.of(file)
    source.noted_ns = source.changed_ns + FINE_NS // 2
    known = UploadIndex(tmp_path / "known")
    known.remember_digest([source], [], b"d" * 32)
    assert known.digest([Source.of(file)], []) is None


_REMEMBER = """
import sys
from pathlib import Path
from modelyard.contract.chunking import Chunk
from modelyard.cache.upload_index import UploadIndex
from modelyard.host.local_files import LocalFile
from modelyard.transfer.file_reader import Source

known = UploadIndex(Path(sys.argv[1]))
for path in sorted(Path(sys.argv[2]).iterdir()):
    source = Source.of(LocalFile(path.name, path))
    source.chunks = [Chunk(bytes(32), source.size)]
    known.remember([source])
    again = Source.of(source.file)
    known.recall([again])
    assert again.recalled, path
"""


def test_several_processes_share_one_index(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    files = [file for folder in folders for file in files_in(folder, {f"{name}": b"x" for name in range(40)})]
    settle()
    known = tmp_path / "known"
    processes = [start_python("-c", _REMEMBER, str(known), str(folder)) for folder in folders]
    assert [process.wait(120) for process in processes] == [0] * len(folders)
    sources = [Source.of(file) for file in files]
    UploadIndex(known).recall(sources)
    assert all(source.recalled for source in sources)
