"""Comparisons of versions are bounded: chunks are counted up to a limit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import ArtifactVersion, Chunk, File, FileChunk, Pack, VersionFile
from modelyard_server.domain.content import comparison
from modelyard_server.domain.registry import resolve
from tests.inprocess.bulk_rows import store
from tests.inprocess.registry import Registry

SIZE = 1000


@pytest.mark.parametrize(("limit", "counted"), [(6, True), (5, False)])
def test_shared_bytes_are_left_out_where_chunks_are_too_many(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, limit: int, counted: bool
) -> None:
    monkeypatch.setattr(comparison, "CHUNK_LIMIT", limit)
    base, version = registry.log("net", "one"), registry.log("net", "two")
    _add_file(registry.database, base, 1, [1, 2, 3])
    _add_file(registry.database, version, 2, [1, 2, 4])
    found = registry.database.read(
        lambda session: comparison.page(
            session,
            resolve.version(session, registry.principal, id_=version.id).view,
            resolve.version(session, registry.principal, id_=base.id).view,
            path_prefix="w",
            page_size=0,
            page_token="",
        )
    )
    (change,) = found.changes
    assert found.total is not None
    shared = 2 * SIZE if counted else None
    assert (change.path, change.shared, found.total.shared) == (b"w", shared, shared)
    assert found.total.changed == (1, 3 * SIZE)


def _add_file(database: Database, version: ArtifactVersion, file_id: int, chunks: Sequence[int]) -> None:
    """Adds the file `w` with these chunks to a version; equal numbers are equal chunks."""
    pack = {"id": new_id(), "entity_id": version.entity_id, "size": 0, "state": "live", "changed_at": 1}
    store(database, Pack, [pack])
    known = {
        number
        for number in chunks
        if database.read(lambda session, number=number: session.get(Chunk, number) is not None)
    }
    store(
        database,
        Chunk,
        [
            {
                "id": number,
                "entity_id": version.entity_id,
                "digest": _digest(number),
                "pack_id": pack["id"],
                "offset": 0,
                "size": SIZE,
            }
            for number in chunks
            if number not in known
        ],
    )
    size = SIZE * len(chunks)
    file = {"id": file_id, "entity_id": version.entity_id, "digest": _digest(file_id + 100), "size": size}
    store(database, File, [file])
    parts = [
        {"file_id": file_id, "idx": index, "chunk_id": number, "start": index * SIZE}
        for index, number in enumerate(chunks)
    ]
    store(database, FileChunk, parts)
    entry = {"version_id": version.id, "path": b"w", "file_id": file_id, "size": size, "tag": ""}
    store(database, VersionFile, [entry])


def _digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()
