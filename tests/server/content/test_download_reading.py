"""How a download reads packs: each is requested once, and packs may move meanwhile."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.content.pack_reads import BLOCK_BYTES, PARTS_TOGETHER, CorruptChunk, blocks
from modelyard_server.domain.content.file_ranges import ChunkRange
from modelyard_server.packs import PackStore, store_from_url
from modelyard_server.packs.store import pack_key
from tests.clients import fast_upload
from tests.parts.server import Factory, LiveServer, new_project

MIB = 1 << 20


def store_chunks(store: PackStore, packs: int, chunks: list[tuple[int, int]]) -> list[ChunkRange]:
    """Chunks of (pack, size), put into packs in that order, as pieces that want all of each."""
    ids = [str(uuid.uuid4()) for _ in range(packs)]
    bodies = [b""] * packs
    pieces = []
    for pack, size in chunks:
        data = random.randbytes(size)
        digest = hashlib.sha256(data).digest()
        pieces.append(ChunkRange(1, ids[pack], len(bodies[pack]), size, digest, 0, size))
        bodies[pack] += data
    for pack_id, body in zip(ids, bodies, strict=True):
        if body:
            filling = store.open()
            filling.append(body)
            filling.put(pack_key(1, pack_id))
            filling.discard()
    return pieces


def wanted_of(store: PackStore, pieces: list[ChunkRange]) -> bytes:
    return b"".join(store.read(piece.key, piece.offset + piece.skip, piece.length) for piece in pieces)


def read(store: PackStore, pieces: list[ChunkRange], *, verify: bool) -> bytes:
    found = [
        [(part, part.range.read(store, part.pieces)) for part in block]
        for block in blocks(pieces, verify=verify)
    ]
    for block in found:
        assert len(block) <= PARTS_TOGETHER
        assert sum(len(data) for _, data in block) <= BLOCK_BYTES + (2 * MIB if verify else 0)
        assert all(part.range.is_over for part, _ in found[-1])
    return b"".join(data for block in found for _, data in block)


@settings(max_examples=40, deadline=None)
@given(
    chunks=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from([1, 900, 300_000, 2 * MIB])), min_size=1, max_size=40
    ),
    skipped=st.integers(0, 899),
    cut=st.integers(0, 899),
    verify=st.booleans(),
)
def test_chunks_in_any_order_of_packs_are_read_correctly(
    tmp_path_factory: pytest.TempPathFactory,
    chunks: list[tuple[int, int]],
    skipped: int,
    cut: int,
    verify: bool,
) -> None:
    store = store_from_url(str(tmp_path_factory.mktemp("store")))
    pieces = store_chunks(store, 7, chunks)
    first = pieces[0]
    pieces[0] = first._replace(skip=skipped % first.size, length=first.size - skipped % first.size)
    last = pieces[-1]
    pieces[-1] = last._replace(length=last.length - cut % last.length)
    assert read(store, pieces, verify=verify) == wanted_of(store, pieces)


def test_each_pack_is_requested_once(tmp_path: Path) -> None:
    store = store_from_url(str(tmp_path))
    pieces = store_chunks(store, 2, [(number % 2, 700_000) for number in range(40)])
    runs = {part.range for block in blocks(pieces, verify=False) for part in block}
    assert len(runs) == 2


def test_a_chunk_that_does_not_match_is_found(tmp_path: Path) -> None:
    store = store_from_url(str(tmp_path))
    pieces = store_chunks(store, 1, [(0, 1000), (0, 1000), (0, 1000)])
    path = tmp_path / pieces[0].key
    body = bytearray(path.read_bytes())
    body[1500] ^= 1
    path.chmod(0o640)
    path.write_bytes(body)
    with pytest.raises(CorruptChunk) as damage:
        read(store, pieces, verify=True)
    assert damage.value.piece == pieces[1]


@pytest.mark.parametrize("verified", [True, False])
def test_packs_may_move_while_a_file_is_read(live_server_factory: Factory, verified: bool) -> None:
    server = live_server_factory().start()
    stubs = server.stubs()
    chunks = fast_upload.random_chunks(40, 2 * MIB)
    version = fast_upload.log(stubs, new_project(), "moving", {"w": chunks}).version
    if verified:
        file = pb.DownloadFileRequest(id=version.id, path="w")
        replies = stubs.artifacts.DownloadFile(file, timeout=60)
    else:
        ranges = [pb.FileRange(path="w", offset=0, length=version.size_bytes)]
        files = pb.DownloadFilesRequest(version_id=version.id, ranges=ranges)
        replies = stubs.artifacts.DownloadFiles(files, timeout=60)
    begin = next(replies).data + next(replies).data
    # The server has planned its reads and waits until the client reads what it has sent.
    assert move_all_packs(server) > 1
    assert begin + b"".join(reply.data for reply in replies) == b"".join(chunks)


def move_all_packs(server: LiveServer) -> int:
    """Copies each pack to a new key, its chunks with it, and drops the old one; how many there were."""
    with closing(sqlite3.connect(server.data / "modelyard.db", isolation_level=None, timeout=30)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(pack)") if row[1] != "id"]
        names = ", ".join(f'"{name}"' for name in columns)
        packs = db.execute("SELECT id FROM pack WHERE state = 'live'").fetchall()
        for (pack_id,) in packs:
            moved = uuid.uuid4()
            old = next(server.data.rglob(str(uuid.UUID(pack_id))))
            new = old.with_name(str(moved))
            shutil.copy(old, new)
            db.execute("BEGIN IMMEDIATE")
            db.execute(
                f"INSERT INTO pack (id, {names}) SELECT ?, {names} FROM pack WHERE id = ?",
                (moved.hex, pack_id),
            )
            db.execute("UPDATE chunk SET pack_id = ? WHERE pack_id = ?", (moved.hex, pack_id))
            db.execute("UPDATE pack SET state = 'trash' WHERE id = ?", (pack_id,))
            db.execute("COMMIT")
            old.unlink()
    return len(packs)
