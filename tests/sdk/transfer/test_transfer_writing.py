"""Downloads without a server: paths stay in the folder, chunks are checked, files are cached."""

from __future__ import annotations

import contextlib
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard import errors
from modelyard.cache.content import Cache
from modelyard.cache.folder_index import FolderIndex
from modelyard.contract import chunking
from modelyard.contract.chunking import Chunk
from modelyard.host.file_copies import write_at
from modelyard.rpc.records import FileEntry
from modelyard.rpc.retry import StreamEndedEarly
from modelyard.rpc.validation import check_paths
from modelyard.transfer.download import checked, plan
from modelyard.transfer.download_stream import MissingChunk, PartialFile, Receiver
from modelyard.transfer.target_folder import TargetFolder
from tests.sdk.transfer.test_chunking import MIB, stream


def entry_of(path: str, data: bytes, piece: int = 100_000) -> FileEntry:
    parts = [data[start : start + piece] for start in range(0, len(data), piece)]
    chunks = tuple(Chunk(chunking.chunk_digest(part), len(part)) for part in parts)
    return FileEntry(path, len(data), chunking.file_digest(chunks), chunks)


def put(folder: TargetFolder, entry: FileEntry, data: bytes) -> None:
    part = folder.open_part(entry)
    assert part is not None
    write_at(part, data, 0)
    folder.finish(entry)
    os.close(part)


def take(cache: Cache, entry: FileEntry, target: Path) -> bool:
    with open(target, "w+b") as file:
        return cache.take(entry, file.fileno())


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "", ".", "a/\0b", "a\nb"])
def test_paths_that_leave_the_folder_are_refused(path: str) -> None:
    with pytest.raises(errors.Error, match="cannot be written"):
        check_paths([FileEntry(path, 0)])


def test_paths_that_cannot_be_in_one_folder_are_refused() -> None:
    check_paths([FileEntry("a/b", 0), FileEntry("a/c/d", 0), FileEntry("ab", 0)])
    with pytest.raises(errors.Error, match="twice"):
        check_paths([FileEntry("a", 0), FileEntry("a", 0)])
    with pytest.raises(errors.Error, match="both as a file and as a folder"):
        check_paths([FileEntry("a/b/c", 0), FileEntry("a", 0)])


def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    with TargetFolder(root) as folder, pytest.raises(errors.Error, match="symbolic link"):
        folder.open_part(entry_of("link/file", b"x"))
    assert list(outside.iterdir()) == []


def test_a_symbolic_link_in_a_files_place_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").symlink_to(outside)
    entry = entry_of("file", b"new")
    with TargetFolder(root) as folder:
        assert folder.open("file") is None
        put(folder, entry, b"new")
    assert outside.read_bytes() == b"precious"
    assert not (root / "file").is_symlink()
    assert (root / "file").read_bytes() == b"new"


def test_a_folder_or_pipe_in_a_files_place_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with TargetFolder(tmp_path) as folder:
        assert folder.open("folder") is None
        assert folder.open("pipe") is None
        with pytest.raises(errors.Error, match="a folder has its name"):
            put(folder, entry_of("folder", b"x"), b"x")


def test_more_folders_than_are_kept_open(tmp_path: Path) -> None:
    entries = [entry_of(f"{number}/deep/file", b"x%d" % number) for number in range(150)]
    with TargetFolder(tmp_path) as folder:
        for number, entry in enumerate(entries):
            put(folder, entry, b"x%d" % number)
    assert all((tmp_path / entry.path).stat().st_size == entry.size for entry in entries)


class Place:
    """Where a gathering puts its bytes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "part"
        self.placed: list[str] = []

    def open(self, entry: FileEntry) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT)

    def put(self, entry: FileEntry, part: int) -> None:
        assert os.fstat(part).st_size == entry.size
        self.placed.append(entry.path)


def gathering(place: Place, entry: FileEntry) -> PartialFile:
    return PartialFile(entry, place.open, place.put)


@pytest.mark.parametrize("message", [1, 1000, 99_999, 100_000, 250_000, MIB])
def test_chunks_are_put_together_from_messages_of_any_size(tmp_path: Path, message: int) -> None:
    data = stream("received", 300_007 if message > 1 else 3_000)
    place, arrived = Place(tmp_path), list[MissingChunk]()
    entry = entry_of("file", data)
    [spans] = plan([gathering(place, entry)], MIB)
    receiver = Receiver(spans, arrived.append)
    for start in range(0, len(data), message):
        receiver.feed(memoryview(data)[start : start + message])
    receiver.end()
    assert receiver.rest() == []
    assert place.path.read_bytes() == data
    assert place.placed == ["file"]
    assert [wanted.digest for wanted in arrived] == [chunk.digest for chunk in entry.chunks]


def test_wrong_bytes_are_asked_again_once(tmp_path: Path) -> None:
    data = stream("received", 300_000)
    wrong = bytearray(data)
    wrong[150_000] ^= 1
    place, arrived = Place(tmp_path), list[MissingChunk]()
    [spans] = plan([gathering(place, entry_of("file", data))], MIB)
    receiver = Receiver(spans, arrived.append)
    receiver.feed(memoryview(wrong))
    again = receiver.rest()
    assert [chunk.number for span in again for chunk in span.chunks] == [1]
    assert place.placed == []

    good = Receiver(again, arrived.append)
    good.feed(memoryview(data)[100_000:200_000])
    assert place.placed == ["file"]
    assert place.path.read_bytes() == data


def test_wrong_bytes_twice_are_an_error(tmp_path: Path) -> None:
    data = stream("received", 50_000)
    place = Place(tmp_path)
    [spans] = plan([gathering(place, entry_of("file", data))], MIB)
    first = Receiver(spans, lambda chunk: None)
    first.feed(memoryview(bytes(50_000)))
    with pytest.raises(errors.ChunkCorrupt, match="'file'"):
        Receiver(first.rest(), lambda chunk: None).feed(memoryview(bytes(50_000)))
    assert place.placed == []


def test_too_few_bytes_are_a_break_and_too_many_a_wrong_reply(tmp_path: Path) -> None:
    data = stream("received", 50_000)
    place = Place(tmp_path)
    [spans] = plan([gathering(place, entry_of("file", data))], MIB)
    short = Receiver(spans, lambda chunk: None)
    short.feed(memoryview(data)[:-1])
    with pytest.raises(StreamEndedEarly):
        short.end()
    assert place.placed == []
    long = Receiver(short.rest(), lambda chunk: None)
    with pytest.raises(errors.ReplyInvalid):
        long.feed(memoryview(data + b"x"))


def test_the_plan_asks_for_what_is_missing_only(tmp_path: Path) -> None:
    entry = entry_of("file", stream("plan", 1_000_000))
    file = gathering(Place(tmp_path), entry)
    for number in (0, 4, 9):
        file.have(number)
    tasks = list(plan([file], 300_000))
    ranges = [(m.offset, m.length) for task in tasks for m in (span.message() for span in task)]
    assert ranges == [(100_000, 300_000), (500_000, 300_000), (800_000, 100_000)]
    assert file.left == 700_000


def test_a_part_file_is_checked_chunk_by_chunk(tmp_path: Path) -> None:
    data = stream("part", 350_000)
    entry = entry_of("file", data)
    broken = bytearray(data[:320_000])
    broken[120_000] ^= 1
    with TargetFolder(tmp_path) as folder:
        part = folder.open_part(entry)
        assert part is not None
        write_at(part, bytes(broken), 0)
        assert list(checked(entry, part)) == [(0, True), (1, False), (2, True), (3, False)]
        os.close(part)


def test_the_cache_gives_back_what_it_was_given(tmp_path: Path) -> None:
    data = stream("cached", 350_000)
    entry = entry_of("folder/file", data)
    cache = Cache(tmp_path / "cache")
    with TargetFolder(tmp_path / "root") as folder:
        put(folder, entry, data)
        keep(cache, folder, entry)
    assert take(cache, entry, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    (tmp_path / "copy").write_bytes(b"")
    (tmp_path / "root/folder/file").unlink()
    assert take(Cache(tmp_path / "cache"), entry, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


def keep(cache: Cache, folder: TargetFolder, entry: FileEntry) -> None:
    source = folder.open(entry.path)
    assert source is not None
    with folder.inside(entry.path) as place:
        cache.add(entry, source, place, entry.path.rpartition("/")[2])
    os.close(source)


def test_threads_write_into_more_folders_than_are_kept_open(tmp_path: Path) -> None:
    entries = [entry_of(f"{number % 150}/{number}", b"%d" % number) for number in range(900)]

    def write(entry: FileEntry) -> None:
        put(folder, entry, entry.path.partition("/")[2].encode())

    before = open_files(tmp_path)
    with TargetFolder(tmp_path) as folder, ThreadPoolExecutor(8) as threads:
        list(threads.map(write, entries))
        assert before < open_files(tmp_path) < 80
    found = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.glob("*/*")}
    assert found == {entry.path: entry.path.partition("/")[2].encode() for entry in entries}
    assert open_files(tmp_path) == before


def open_files(below: Path) -> int:
    """Of this process."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += link.readlink().is_relative_to(below)
    return found


@pytest.mark.parametrize("harm", ["written to", "cut short", "made longer"])
def test_writing_into_a_file_never_changes_another_folder(tmp_path: Path, harm: str) -> None:
    data = stream("cached", 350_000)
    entry = entry_of("file", data)
    cache = Cache(tmp_path / "cache")
    with TargetFolder(tmp_path / "root") as folder:
        put(folder, entry, data)
        keep(cache, folder, entry)
    with open(tmp_path / "root/file", "r+b") as file:
        if harm == "written to":
            file.write(b"mine now")
        elif harm == "cut short":
            file.truncate(349_999)
        else:
            file.seek(0, os.SEEK_END)
            file.write(b"more")
    if take(cache, entry, tmp_path / "copy"):
        assert (tmp_path / "copy").read_bytes() == data
    else:
        assert (tmp_path / "copy").stat().st_size == 0
        assert not cache.holds(entry)


def test_the_least_recently_used_files_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", max_bytes=450_000)
    entries = []
    for number in range(4):
        data = stream(f"cached {number}", 100_000)
        entries.append(entry_of(f"{number}", data))
        with TargetFolder(tmp_path / "root") as folder:
            put(folder, entries[-1], data)
            keep(cache, folder, entries[-1])
        (tmp_path / "root" / f"{number}").unlink()
    assert take(cache, entries[0], tmp_path / "copy")
    last = entry_of("last", stream("last", 100_000))
    with TargetFolder(tmp_path / "root") as folder:
        put(folder, last, stream("last", 100_000))
        keep(cache, folder, last)
    cache.trim()
    assert [cache.holds(entry) for entry in (*entries, last)] == [True, False, True, True, True]


def test_a_file_of_more_than_half_the_cache_is_not_kept(tmp_path: Path) -> None:
    data = stream("cached", 60_000)
    entry = entry_of("file", data)
    cache = Cache(tmp_path / "cache", max_bytes=100_000)
    with TargetFolder(tmp_path / "root") as folder:
        put(folder, entry, data)
        keep(cache, folder, entry)
    assert not cache.holds(entry)


def test_a_folder_index_knows_files_that_nobody_touched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    entry = entry_of("file", b"content")
    cache = Cache(tmp_path / "cache")
    index = cache.folder_index(tmp_path)
    assert not index.has(entry, path.stat())
    index.note(entry, path.stat())
    index.save()
    again = Cache(tmp_path / "cache").folder_index(tmp_path)
    assert again.has(entry, path.stat())
    assert not again.has(entry_of("file", b"CONTENT"), path.stat())
    path.write_bytes(b"CONTENT")
    assert not again.has(entry, path.stat())


def test_a_folder_index_says_nothing_of_a_file_that_was_just_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    entry, index, found = entry_of("file", b"content"), FolderIndex(None), path.stat()
    assert not index.has_since(entry, found, found.st_ctime_ns + 3_000_000_000)
    index.note(entry, found)
    assert index.has_since(entry, found, found.st_ctime_ns + 3_000_000_000)
    assert not index.has_since(entry, found, found.st_ctime_ns + 1)


def test_a_damaged_folder_index_is_treated_as_empty(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{")
    (tmp_path / "file").write_bytes(b"x")
    assert not FolderIndex(tmp_path / "record.json").has(entry_of("file", b"x"), (tmp_path / "file").stat())


def test_a_cache_that_cannot_be_created_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    entry = entry_of("model", b"content")
    for _ in range(2):
        cache = Cache(tmp_path / "file" / "cache")
        with cache.lock("ab" * 32), TargetFolder(tmp_path / "root") as folder:
            put(folder, entry, b"content")
            keep(cache, folder, entry)
        cache.trim()
        assert not cache.holds(entry)
        assert not take(cache, entry, tmp_path / "copy")
    said = capsys.readouterr().err
    assert said.count("MODELYARD_CACHE_DIR") == said.count(os.strerror(errno.ENOTDIR)) == 1
