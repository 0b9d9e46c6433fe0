"""The published standard: cut points and digests, against its vectors and its properties."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.contract import chunking
from modelyard.contract.chunking import Chunk, Entry

VECTORS = json.loads(Path(__file__).parents[3].joinpath("proto/chunking-vectors.json").read_text())
MIB = 1 << 20


@functools.lru_cache(maxsize=8)
def stream(seed: str, size: int) -> bytes:
    """The deterministic bytes of the vectors: a SHA-256 counter stream."""
    blocks = (
        hashlib.sha256(seed.encode() + struct.pack(">Q", index)).digest() for index in range(-(-size // 32))
    )
    return b"".join(blocks)[:size]


def content(parts: list[dict[str, Any]]) -> bytes:
    return b"".join(
        stream(part["stream"], part["size"]) if "stream" in part else bytes([part["byte"]]) * part["size"]
        for part in parts
    )


def cut_in_windows(data: bytes, windows: list[int]) -> list[int]:
    """Cut points when only one window more is read at a time."""
    cuts: list[int] = []
    start = end = 0
    for window in [*windows, len(data)]:
        end = min(len(data), end + window)
        found = list(chunking.cut_points(memoryview(data)[start:end], final=end == len(data)))
        cuts.extend(start + cut for cut in found)
        start += found[-1] if found else 0
        if end == len(data):
            break
    return cuts


@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda vector: str(vector["name"]))
def test_files_are_cut_as_published(vector: dict[str, Any]) -> None:
    data = content(vector["content"])
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    assert len(data) == vector["size"]
    assert list(chunking.cut_points(data)) == vector["cut_points"]
    chunks = chunking.cut(data)
    assert [chunk.digest.hex() for chunk in chunks] == vector["chunk_digests"]
    assert chunking.file_digest(chunks).hex() == vector["file_digest"]


@pytest.mark.parametrize("vector", VECTORS["versions"], ids=lambda vector: str(vector["name"]))
def test_versions_have_the_published_digest(vector: dict[str, Any]) -> None:
    entries = [
        Entry(
            entry["path"],
            entry["size"],
            bytes.fromhex(entry.get("file_digest", "")),
            entry.get("uri", ""),
            entry.get("tag", ""),
        )
        for entry in vector["entries"]
    ]
    assert chunking.version_digest(entries).hex() == vector["version_digest"]
    assert chunking.version_digest(reversed(entries)).hex() == vector["version_digest"]


def test_the_published_parameters_are_the_ones_used() -> None:
    assert VECTORS["parameters"] == {
        "algorithm": "FAST_CDC_2020",
        "average_bytes": chunking.AVERAGE_BYTES,
        "minimum_bytes": chunking.MINIMUM_BYTES,
        "maximum_bytes": chunking.MAXIMUM_BYTES,
        "normalization": chunking.NORMALIZATION,
        "seed": chunking.SEED,
    }


@settings(max_examples=40, deadline=None)
@given(
    seed=st.sampled_from(["a", "b", "c"]),
    zeros=st.sampled_from([0, 1, 3 * MIB]),
    tail=st.integers(0, 3 * MIB),
    windows=st.lists(st.integers(1, 5 * MIB), max_size=12),
)
def test_windows_of_any_size_give_the_same_cuts(seed: str, zeros: int, tail: int, windows: list[int]) -> None:
    data = stream(seed, 3 * MIB) + bytes(zeros) + stream("tail", 3 * MIB)[:tail]
    assert cut_in_windows(data, windows) == list(chunking.cut_points(data))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 6 * MIB))
def test_chunks_keep_their_limits_and_leave_nothing_out(size: int) -> None:
    chunks = chunking.cut(stream("sizes", 6 * MIB)[:size])
    assert sum(chunk.size for chunk in chunks) == size
    assert all(chunk.size <= chunking.MAXIMUM_BYTES for chunk in chunks)
    assert all(chunk.size >= chunking.MINIMUM_BYTES for chunk in chunks[:-1])


@settings(max_examples=20, deadline=None)
@given(front=st.binary(min_size=1, max_size=5000))
def test_bytes_inserted_in_front_change_only_the_first_chunks(front: bytes) -> None:
    data = stream("a", 8 * MIB)
    before, after = chunking.cut(data), chunking.cut(front + data)
    new = sum(chunk.size for chunk in set(after) - set(before))
    assert new <= 4 * MIB
    assert after[-4:] == before[-4:]


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 2 * MIB))
def test_every_buffer_type_is_cut_alike(size: int) -> None:
    data = stream("types", 2 * MIB)[:size]
    cuts = list(chunking.cut_points(data))
    assert list(chunking.cut_points(bytearray(data))) == cuts
    assert list(chunking.cut_points(memoryview(data))) == cuts


chunks = st.builds(Chunk, st.binary(min_size=32, max_size=32), st.integers(1, chunking.MAXIMUM_BYTES))


@given(st.lists(chunks, max_size=8))
def test_a_file_digest_is_the_hash_of_digests_and_sizes(parts: list[Chunk]) -> None:
    spelled = b"".join(chunk.digest + chunk.size.to_bytes(8, "big") for chunk in parts)
    assert chunking.file_digest(parts) == hashlib.sha256(spelled).digest()


paths = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
files = st.builds(Entry, paths, st.integers(0, 1 << 60), st.binary(min_size=32, max_size=32))
references = st.builds(
    Entry,
    paths,
    st.none() | st.integers(0, 1 << 60),
    st.just(b""),
    st.text(min_size=1, max_size=9),
    st.text(max_size=9),
)


@given(st.lists(files | references, max_size=8, unique_by=lambda entry: entry.path), st.randoms())
def test_a_version_digest_spells_out_its_sorted_entries(
    entries: list[Entry], shuffler: random.Random
) -> None:
    spelled = b""
    for entry in sorted(entries, key=lambda entry: entry.path.encode()):
        path, uri, tag = entry.path.encode(), entry.uri.encode(), entry.tag.encode()
        spelled += len(path).to_bytes(4, "big") + path
        size = b"\xff" * 8 if entry.size is None else entry.size.to_bytes(8, "big")
        if uri:
            spelled += b"\1" + len(uri).to_bytes(4, "big") + uri + len(tag).to_bytes(4, "big") + tag + size
        else:
            spelled += b"\0" + entry.digest + size
    shuffler.shuffle(entries)
    assert chunking.version_digest(entries) == hashlib.sha256(spelled).digest()
