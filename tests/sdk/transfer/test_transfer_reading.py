"""Uploads up to the wire: windows, messages, and files that change under the reader."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard import errors
from modelyard.contract import chunking
from modelyard.contract.chunking import Chunk
from modelyard.host.local_files import LocalFile
from modelyard.rpc import messages
from modelyard.rpc.manifest import NewVersion, commit_messages
from modelyard.rpc.records import FileEntry
from modelyard.transfer import framing
from modelyard.transfer.file_reader import BufferPool, ReadBuffer, Reader, Source
from modelyard.transfer.threads import Stopped
from modelyard.transfer.upload_stream import MESSAGE_BYTES, SendQueue, UploadCall, batches
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from modelyard.v1.value_pb2 import AnyValue
from tests.sdk.transfer.test_chunking import MIB, stream

SIZES = (0, 1, 1000, 131_072, 131_073, 700_000, 5_000_000)


def sources(folder: Path, sizes: Sequence[int]) -> list[Source]:
    found = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.bin"
        path.write_bytes(stream(f"file {number}", size))
        found.append(Source.of(LocalFile(path.name, path)))
    return found


def hash_pieces(window: ReadBuffer) -> None:
    for piece in window.chunks:
        digest = hashlib.sha256(window.bytes_of(piece)).digest()
        piece.source.chunks[piece.number] = Chunk(digest, piece.size)


def read_hashed(found: list[Source], pool: BufferPool) -> None:
    def emit(window: ReadBuffer) -> None:
        hash_pieces(window)
        window.release()

    Reader(pool, emit).read(found)


@pytest.mark.parametrize("window", [2 * MIB, 3 * MIB + 1, 16 * MIB])
def test_every_file_ends_in_the_chunks_of_the_standard(tmp_path: Path, window: int) -> None:
    found = sources(tmp_path, (*SIZES, *reversed(SIZES)))
    read_hashed(found, BufferPool(window, 2))
    for source in found:
        assert source.chunks == chunking.cut(source.file.source.read_bytes())


def test_pieces_do_not_overlap_and_fill_the_window(tmp_path: Path) -> None:
    windows: list[list[tuple[int, int]]] = []

    def emit(window: ReadBuffer) -> None:
        windows.append([(piece.start, piece.size) for piece in window.chunks])
        window.release()

    Reader(BufferPool(2 * MIB, 2), emit).read(sources(tmp_path, SIZES))
    for pieces in windows:
        ends = [start + size for start, size in pieces]
        assert [0, *ends[:-1]] == [start for start, _ in pieces]
        assert ends[-1] <= 2 * MIB


def test_a_pool_hands_out_no_more_buffers_than_it_has() -> None:
    pool = BufferPool(1024, 2)
    first, second = pool.take(), pool.take()
    pool.hold(first, 1)
    first.release()
    first.release()
    again = pool.take()
    assert again.view.obj is first.view.obj
    assert again.view.obj is not second.view.obj
    pool.stop()
    with pytest.raises(Stopped):
        pool.take()


@pytest.mark.parametrize("change", ["longer", "shorter", "touched"])
def test_a_file_that_changed_since_the_upload_began_is_named(tmp_path: Path, change: str) -> None:
    found = sources(tmp_path, (400_000,))
    path = found[0].file.source
    if change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.write_bytes(b"x" * (400_001 if change == "longer" else 399_999))
    with pytest.raises(errors.Error, match=r"0\.bin changed while it was read"):
        read_hashed(found, BufferPool())


def test_a_file_that_changes_between_two_reads_is_named(tmp_path: Path) -> None:
    found = sources(tmp_path, (5_000_000,))
    path = found[0].file.source

    def emit(window: ReadBuffer) -> None:
        with open(path, "r+b") as file:
            file.write(b"another beginning")
        window.release()

    with pytest.raises(errors.Error, match=r"0\.bin changed while it was read"):
        Reader(BufferPool(2 * MIB, 2), emit).read(found)


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    with pytest.raises(errors.Error, match="not a regular file"):
        Source.of(LocalFile("folder", tmp_path))
    with pytest.raises(errors.LocalFileError, match="gone"):
        Source.of(LocalFile("gone", tmp_path / "gone"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), st.text(max_size=40))
def test_an_upload_message_is_what_protobuf_would_write(parts: list[bytes], upload_id: str) -> None:
    chunks = [Chunk(chunking.chunk_digest(part), len(part)) for part in parts]
    message = upload_pb2.UploadChunksRequest.FromString(
        framing.upload_chunks_request(upload_id, chunks, [memoryview(part) for part in parts])
    )
    assert message == upload_pb2.UploadChunksRequest(
        upload_id=upload_id,
        chunks=[upload_pb2.Chunk(digest=chunk.digest, size_bytes=chunk.size) for chunk in chunks],
        data=b"".join(parts),
    )


@given(st.binary(max_size=400) | st.integers(0, 70_000).map(bytes), st.binary(max_size=20))
def test_a_download_message_is_read_as_protobuf_reads_it(data: bytes, unknown: bytes) -> None:
    message = pb.DownloadFilesResponse(data=data).SerializeToString()
    assert framing.download_files_data(message) == data
    later_field = b"\x7a" + bytes([len(unknown)]) + unknown
    assert framing.download_files_data(message + later_field) == data
    assert framing.download_files_data(later_field + message) == data


def test_loads_are_messages_of_about_a_mebibyte(tmp_path: Path) -> None:
    emitted: list[ReadBuffer] = []
    Reader(BufferPool(16 * MIB, 2), emitted.append).read(sources(tmp_path, (5_000_000, *[65_536] * 40)))
    for window in emitted:
        found = list(batches(window, window.chunks))
        assert [piece for load in found for piece in load.chunks] == window.chunks
        for load in found:
            size = sum(piece.size for piece in load.chunks)
            assert size <= MESSAGE_BYTES or len(load.chunks) == 1
            assert sum(map(len, load.parts())) == size
            assert len(load.parts()) == 1


def test_a_broken_call_gives_back_what_was_not_acknowledged(tmp_path: Path) -> None:
    queue = SendQueue()
    emitted: list[ReadBuffer] = []
    Reader(BufferPool(16 * MIB, 2), emitted.append).read(sources(tmp_path, (3_000_000,)))
    hash_pieces(emitted[0])
    for load in batches(emitted[0], emitted[0].chunks):
        queue.put(load)
    flight = UploadCall("upload", queue)
    requests = flight.requests()
    first = upload_pb2.UploadChunksRequest.FromString(next(requests))
    second = upload_pb2.UploadChunksRequest.FromString(next(requests))
    assert (first.upload_id, second.upload_id) == ("upload", "")
    assert flight.acknowledge(len(first.chunks)) == len(first.data)
    queue.break_off(flight)
    assert next(requests, None) is None
    assert [located.chunk.size for located in flight.unacknowledged] == [
        chunk.size_bytes for chunk in second.chunks
    ]


def test_a_commit_is_a_stream_of_small_messages_with_every_chunk() -> None:
    chunk = Chunk(bytes(32), 1)
    entries = [
        FileEntry("big", 25_000, bytes(32), (chunk,) * 25_000),
        *[FileEntry(f"small/{number}", 1, bytes(32), (chunk,)) for number in range(8_000)],
        FileEntry("reference", None, uri="s3://bucket/key", tag="etag"),
    ]
    header = NewVersion("e", "p", "n", "model", ttl_seconds=1.5).message(bytes(32))
    first, *rest = commit_messages("upload", header, entries, "request")
    assert (first.upload_id, first.request_id) == ("upload", "request")
    assert not first.header.HasField("history_step")
    assert first.header.ttl.ToMilliseconds() == 1500
    assert max(message.ByteSize() for message in rest) < 2 * MIB
    sent = [entry for message in rest for entry in message.entries]
    assert [entry.path for entry in sent if not entry.continued] == [entry.path for entry in entries]
    assert sum(len(entry.chunks) for entry in sent if entry.path == "big") == 25_000
    assert all(entry.path == "big" for entry in sent if entry.continued)
    assert (sent[-1].HasField("size_bytes"), sent[-1].reference_uri, sent[-1].digest) == (
        False,
        "s3://bucket/key",
        "",
    )


def test_a_value_of_a_kind_added_later_is_not_read_as_null() -> None:
    later = AnyValue.FromString(b"\x7a\x00")  # field 15
    assert messages.values({"x": AnyValue(null_value=True)}) == {"x": None}
    with pytest.raises(errors.ReplyInvalid, match="upgrade"):
        messages.values({"x": later})


def test_metadata_keeps_its_kinds() -> None:
    metadata = {"none": None, "yes": True, "n": 1 << 60, "x": 0.5, "s": "é", "l": [1, [2]], "m": {"k": False}}
    sent = NewVersion("e", "p", "n", "model", metadata=metadata).message(b"").metadata
    kinds = {key: value.WhichOneof("kind") for key, value in sent.items()}
    assert kinds == {
        "none": "null_value",
        "yes": "bool_value",
        "n": "int_value",
        "x": "double_value",
        "s": "string_value",
        "l": "list_value",
        "m": "map_value",
    }
    assert sent["n"].int_value == 1 << 60
    assert sent["l"].list_value.values[1].list_value.values[0].int_value == 2
