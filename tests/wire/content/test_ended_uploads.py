"""Ended uploads and deleted versions: their rows go in batches, and others write in between."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.contract.chunking import Chunk as UploadChunk
from modelyard_server.db.attributes import Attribute
from modelyard_server.db.bounded import ROWS
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import Chunk, Pack, Pin, Upload, VersionFile
from modelyard_server.db.upserts import insert_missing
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.content import commits, uploads
from modelyard_server.domain.content.commits import VersionSpec
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.domain.registry import deletes
from tests.inprocess.registry import ENTITY, Registry
from tests.inprocess.sweep import DAY, MINUTE, sweep


def upload_of(registry: Registry, pins: int) -> str:
    """An open upload that holds so many chunks."""

    def run(session: Session, principal: Principal) -> str:
        upload = uploads.create(session, principal, ENTITY, "p")
        pack = Pack(id=new_id(), entity_id=upload.entity_id, size=1, state="live", changed_at=0)
        session.add(pack)
        session.flush()
        place = {"entity_id": upload.entity_id, "pack_id": pack.id, "offset": 0, "size": 1}
        chunks = [{**place, "digest": number.to_bytes(32)} for number in range(pins)]
        if chunks:
            insert_missing(session, Chunk, chunks)
            uploads.pin(session, upload, session.scalars(select(Chunk.id)))
        return upload.id

    return registry.write(run)


def held_by(registry: Registry, upload_id: str) -> int:
    return registry.read(
        lambda session, _: session.scalar(
            select(func.count()).select_from(Pin).where(Pin.upload_id == upload_id)
        )
    )


def age(registry: Registry, upload_id: str, microseconds: int) -> None:
    """Lets an upload have been made, and used last, so much earlier."""

    def run(session: Session, _: Principal) -> None:
        upload = session.get_one(Upload, upload_id)
        upload.created_at -= microseconds
        upload.expires_at -= microseconds

    registry.write(run)


def test_an_abandoned_upload_gives_back_what_it_holds(registry: Registry) -> None:
    abandoned, used = upload_of(registry, 3), upload_of(registry, 3)
    age(registry, abandoned, DAY + MINUTE)
    sweep(registry.database)
    assert (held_by(registry, abandoned), held_by(registry, used)) == (0, 3)
    assert registry.read(lambda session, _: session.get(Upload, abandoned)) is None
    with pytest.raises(errors.UploadExpired):
        registry.read(uploads.find, abandoned)
    registry.read(uploads.find, used)


def test_an_upload_that_holds_nothing_ends_after_an_idle_hour(registry: Registry) -> None:
    empty, full_one = upload_of(registry, 0), upload_of(registry, 1)
    digest = UploadChunk(bytes(31) + b"\0", 1)
    assert registry.write(uploads.missing, full_one, [digest]) == []
    for upload_id in (empty, full_one):
        age(registry, upload_id, 61 * MINUTE)
    sweep(registry.database)
    with pytest.raises(errors.UploadExpired):
        registry.read(uploads.find, empty)
    registry.read(uploads.find, full_one)


def test_the_chunks_of_a_large_deleted_upload_are_released_in_portions(registry: Registry) -> None:
    large = upload_of(registry, 2 * ROWS + 10)
    registry.write(uploads.delete, large)
    with pytest.raises(errors.UploadExpired):
        registry.read(uploads.find, large)
    portions = [held_by(registry, large)]
    while registry.database.write(uploads.delete_ended) == uploads.SWEEP_BATCH:
        portions.append(held_by(registry, large))
    assert portions == [2 * ROWS + 10, ROWS + 10, 10]
    assert held_by(registry, large) == 0


def test_the_entries_of_a_large_deleted_version_are_deleted_in_portions(registry: Registry) -> None:
    manifest = Manifest()
    for number in range(ROWS + 10):
        manifest.add_reference(f"r{number}", "test://content", "", None)
    digest = manifest.finish(None)
    draft = commits.checked(VersionSpec(ENTITY, "p", "large"))

    def commit(session: Session, principal: Principal) -> str:
        upload = uploads.create(session, principal, ENTITY, "p")
        return commits.commit(session, principal, upload.id, draft, manifest, digest)[0].version.id

    def entries(session: Session, _: Principal) -> int | None:
        return session.scalar(
            select(func.count()).select_from(VersionFile).where(VersionFile.version_id == version_id)
        )

    version_id = registry.write(commit)
    registry.delete("large:v0", force=True)
    with pytest.raises(errors.NotFound):
        registry.number("large:v0")
    counts = [registry.read(entries)]
    while registry.database.write(deletes.remove_contents) == deletes.SWEEP_BATCH:
        counts.append(registry.read(entries))
    assert [*counts, registry.read(entries)] == [ROWS + 10, 10, 0]


@pytest.mark.parametrize(("keys", "nested"), [(100, False), (1_000, True)])
def test_the_index_entries_of_a_large_deleted_artifact_are_deleted_in_portions(
    registry: Registry, keys: int, nested: bool
) -> None:
    versions = ROWS // keys + 2
    for number in range(versions):
        leaves = {f"k{key}": number for key in range(keys)}
        registry.log("wide", str(number), metadata={"all": leaves} if nested else leaves)

    def entries(session: Session, _: Principal) -> int | None:
        return session.scalar(select(func.count()).select_from(Attribute))

    row = registry.collection("wide")
    registry.write(lambda s, p: deletes.delete_artifact(s, p, row, force=True))
    counts = [registry.read(entries)]
    while registry.database.write(deletes.remove_contents) == deletes.SWEEP_BATCH:
        counts.append(registry.read(entries))
    counts.append(registry.read(entries))
    assert counts[0] == versions * keys
    assert counts[-1] == 0
    assert all(before - after <= ROWS for before, after in itertools.pairwise(counts))


def test_an_upload_beyond_the_limit_of_a_key_ends_its_longest_idle_one(
    registry: Registry,
) -> None:
    first, second = upload_of(registry, 1), upload_of(registry, 1)
    for upload_id, hours in ((first, 3), (second, 2)):
        registry.write(uploads.missing, upload_id, [UploadChunk(bytes(31) + b"\0", 1)])
        age(registry, upload_id, hours * 60 * MINUTE)
    fill_up(registry, uploads.OPEN_LIMIT - 2)
    for ended in (first, second):
        registry.write(uploads.create, ENTITY, "p")
        with pytest.raises(errors.UploadExpired):
            registry.read(uploads.find, ended)
    with pytest.raises(errors.QuotaExceeded, match="DeleteUpload"):
        registry.write(uploads.create, ENTITY, "p")


def fill_up(registry: Registry, count: int) -> None:
    """Opens so many uploads, of which all are in use."""

    def run(session: Session, principal: Principal) -> None:
        like = uploads.create(session, principal, ENTITY, "p")
        columns = {column.name: getattr(like, column.name) for column in Upload.__table__.columns}
        insert_missing(session, Upload, [{**columns, "id": new_id()} for _ in range(count - 1)])

    registry.write(run)
