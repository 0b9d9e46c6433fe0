"""The collector on both databases: what it deletes, what it must keep, and what happens in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.collecting import holders, objects, packs, rewriting, rows, usage
from modelyard_server.collecting.holders import Holder
from modelyard_server.collecting.rules import Rules
from modelyard_server.collecting.usage import Held, InStore
from modelyard_server.db import bounded
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import File, FileChunk, Pack, Upload
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.principals import LOCAL, Principal
from modelyard_server.domain.content import file_ranges, staging, uploads
from modelyard_server.domain.content.file_ranges import Range
from modelyard_server.domain.content.manifests import Manifest
from modelyard_server.packs import pack_key, store_from_url
from tests.contracts.pack_store import new_key, put
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.registry import ENTITY, Registry, full
from tests.inprocess.stored_versions import StoredVersions, content, cut
from tests.parts.s3 import S3Server


@pytest.fixture
def versions(registry: Registry, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoredVersions]:
    """SQLite with a folder, PostgreSQL with S3."""
    if registry.database.is_sqlite:
        url = str(tmp_path / "store")
    else:
        server: S3Server = request.getfixturevalue("minio_server")
        url = server.url(server.new_bucket())
    with FaultyStore(store_from_url(url)) as store:
        yield StoredVersions(registry, store)
        assert store.open_packs == 0


def test_a_deleted_version_gives_its_bytes_back_and_others_keep_theirs(versions: StoredVersions) -> None:
    shared, own = content(3000, 2000), content(5000)
    kept = versions.log("kept", {"w": shared})
    versions.log("gone", {"w": [*shared, *own]})
    assert versions.stored() == 10_000
    assert not versions.collect()
    versions.registry.delete("gone:v0", force=True)
    done = versions.collect()
    assert {kind: (count, size) for kind, count, size in done} == {
        "files": (1, 10_000),
        "chunks": (1, 5000),
        "trash": (1, 5000),
        "packs": (1, 5000),
    }
    assert versions.stored() == 5000
    assert versions.read(kept, "w") == b"".join(shared)
    assert set(versions.states().values()) == {"live", "gone"}
    assert not versions.collect()


def test_a_pack_stays_in_the_store_until_its_retention_is_over(versions: StoredVersions) -> None:
    versions.log("gone", {"w": content(1000)})
    versions.registry.delete("gone:v0", force=True)
    done = versions.collect(Rules())
    assert done.get("trash") == (1, 1000)
    assert (versions.stored(), set(versions.states().values())) == (1000, {"trash"})
    assert not versions.collect(Rules())
    versions.collect()
    assert versions.stored() == 0


def test_what_an_open_upload_holds_is_kept_until_it_ends(versions: StoredVersions) -> None:
    upload_id, chunks = versions.upload(), content(1000, 1000)
    versions.send(upload_id, chunks)
    assert not versions.collect()
    assert versions.missing(upload_id, chunks) == []
    versions.end_uploads()
    versions.collect()
    assert (versions.stored(), versions.counts()) == (0, (0, 0, 0))
    with pytest.raises(errors.UploadExpired):
        versions.missing(upload_id, chunks)
    assert versions.read(versions.log("again", {"w": chunks}), "w") == b"".join(chunks)


def test_ten_thousand_expired_uploads_go_and_new_ones_are_opened(versions: StoredVersions) -> None:
    first = versions.upload()

    def fill(session: Session, principal: Principal) -> None:
        one = session.get_one(Upload, first)
        values = {"entity_id": one.entity_id, "project": "p", "principal_id": principal.id, "created_at": 1}
        session.execute(
            Upload.__table__.insert(),  # type: ignore[attr-defined]  # a table
            [{"id": new_id(), "expires_at": 2, **values} for _ in range(10_000)],
        )

    versions.registry.write(fill)
    assert versions.counts()[2] == 10_001
    versions.collect()
    assert versions.counts()[2] == 1
    versions.upload()


def test_chunks_that_were_pinned_after_they_were_found_are_kept(versions: StoredVersions) -> None:
    chunks = content(1000, 1000)
    versions.log("gone", {"w": chunks})
    versions.registry.delete("gone:v0", force=True)
    database = versions.registry.database
    files = database.read(lambda session: rows.find_files(session, 0)).ids
    assert database.write(lambda session: rows.delete_files(session, files)).rows == 1
    found = database.read(lambda session: rows.find_chunks(session, 0)).ids
    assert len(found) == 2
    upload_id = versions.upload()
    assert versions.missing(upload_id, chunks[:1]) == []
    freed = database.write(lambda session: rows.delete_chunks(session, found))
    assert (freed.rows, freed.size) == (1, 1000)
    assert versions.missing(upload_id, chunks) == [1]
    versions.send(upload_id, chunks[1:])
    made = versions.commit(upload_id, "again", {"w": chunks})
    versions.collect()
    assert versions.read(made, "w") == b"".join(chunks)


def test_files_that_were_named_after_they_were_found_are_kept(versions: StoredVersions) -> None:
    chunks = content(1000)
    versions.log("gone", {"w": chunks})
    versions.registry.delete("gone:v0", force=True)
    database = versions.registry.database
    found = database.read(lambda session: rows.find_files(session, 0)).ids
    assert len(found) == 1
    made = versions.log("again", {"w": chunks})
    assert database.write(lambda session: rows.delete_files(session, found)).rows == 0
    versions.collect()
    assert versions.read(made, "w") == b"".join(chunks)


def test_rows_that_others_have_locked_are_left_to_a_later_collection(
    postgresql_registry: Registry, tmp_path: Path
) -> None:
    versions = StoredVersions(postgresql_registry, store_from_url(str(tmp_path / "store")))
    chunks, database = content(1000, 1000), postgresql_registry.database
    versions.log("gone", {"w": chunks})
    versions.registry.delete("gone:v0", force=True)
    asked, done = threading.Event(), threading.Event()

    def ask(session: Session) -> None:
        uploads._lock_present(session, versions.entity_id(), [cut(chunks)[0].digest])
        asked.set()
        assert done.wait(30)

    asking = threading.Thread(target=database.write, args=(ask,))
    asking.start()
    assert asked.wait(30)
    try:
        totals = versions.collect(as_foreseen=False)
    finally:
        done.set()
        asking.join()
    assert totals.get("chunks") == (1, 1000)
    assert versions.collect().get("chunks") == (1, 1000)


def test_an_upload_is_not_deleted_while_it_is_asked_for_chunks(
    postgresql_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that holds nothing, and so has no pin whose foreign key would say that it is gone."""
    versions = StoredVersions(postgresql_registry, store_from_url(str(tmp_path / "store")))
    upload_id, chunks = versions.upload(), content(1000)
    deleting = threading.Thread(target=postgresql_registry.write, args=(uploads.delete, upload_id))
    look = uploads._lock_present

    def look_slowly(*given: Any) -> Any:
        deleting.start()
        deleting.join(0.5)  # it waits for this transaction
        return look(*given)

    with monkeypatch.context() as patch:
        patch.setattr(uploads, "_lock_present", look_slowly)
        assert versions.missing(upload_id, chunks) == [0]
    deleting.join()
    with pytest.raises(errors.UploadExpired):
        versions.missing(upload_id, chunks)


def test_of_a_writer_and_a_collector_one_gets_the_pack(versions: StoredVersions) -> None:
    upload_id, chunks = versions.upload(), content(1000)
    late = versions.begin(upload_id)
    builder = versions.put(late, chunks)
    assert not versions.collect(Rules(retention=0))  # not written for long
    assert versions.collect().get("packs")[0] == 1
    assert versions.stored() == 0
    with pytest.raises(errors.RetryTransaction):
        versions.publish(upload_id, late, builder)
    assert versions.missing(upload_id, chunks) == [0]
    early = versions.send(upload_id, chunks)
    found = [early]
    given_up = versions.registry.database.write(lambda session: packs.give_up_abandoned(session, found))
    assert given_up == []
    assert versions.states() == {late: "gone", early: "live"}


def test_a_put_that_arrives_after_the_delete_is_found_in_the_store(versions: StoredVersions) -> None:
    upload_id = versions.upload()
    late = versions.begin(upload_id)
    versions.collect()
    assert versions.states()[late] == "gone"
    versions.put(late, content(1000))
    assert versions.stored() == 1000
    assert versions.collect().get("strays") == (1, 1000)
    assert versions.stored() == 0


def test_objects_without_a_pack_are_deleted_and_keys_of_others_are_not(versions: StoredVersions) -> None:
    kept = versions.log("kept", {"w": content(1000)})
    writing = versions.begin(versions.upload())
    versions.put(writing, content(500))
    stray, foreign = new_key(), "packs/probe/0190c5f8-0000-7000-8000-000000000000"
    short = "packs/7/not-an-id"
    for key in (stray, foreign, short):
        put(versions.store, key, b"x")
    done = versions.collect(Rules(retention=0))
    assert done.get("strays") == (1, 1)
    left = {info.key for info in versions.store.list()}
    assert {foreign, short, pack_key(versions.entity_id(), writing)} <= left
    assert stray not in left
    assert versions.read(kept, "w")


def test_young_objects_without_a_pack_are_kept_for_the_retention(versions: StoredVersions) -> None:
    put(versions.store, new_key(), b"x")
    assert not versions.collect(Rules())
    assert versions.stored() == 1


def test_the_store_is_listed_page_by_page(versions: StoredVersions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAGE", 2)
    for _ in range(5):
        put(versions.store, new_key(), b"x")
    assert versions.collect().get("strays") == (5, 5)
    assert versions.stored() == 0


def test_a_pack_that_is_mostly_dead_is_rewritten(versions: StoredVersions) -> None:
    chunks = content(1000, 1000, 1000, 1000)
    kept = versions.log("kept", {"a": chunks[1:2]})
    first = next(iter(versions.states()))
    versions.log("gone", {"w": chunks})
    other = versions.log("other", {"w": [chunks[3], chunks[0]]})
    versions.registry.delete("gone:v0", force=True)
    assert versions.collect().get("moved") == (0, 0)  # two thirds of the second pack are needed
    assert versions.stored() == 4000
    done = versions.collect(Rules(retention=0, unfinished=0, dead=0.1))
    assert done.get("moved") == (2, 2000)
    assert versions.stored() == 3000
    assert versions.states()[first] == "live"
    assert versions.read(kept, "a") == chunks[1]
    assert versions.read(other, "w") == chunks[3] + chunks[0]


def test_many_packs_that_are_mostly_dead_become_one(versions: StoredVersions) -> None:
    keep = content(*[100] * 6)
    for index, chunk in enumerate(keep):
        versions.log(f"gone{index}", {"w": [chunk, *content(900)]})
    made = versions.log("kept", {"w": keep})
    for index in range(6):
        versions.registry.delete(f"gone{index}:v0", force=True)
    versions.collect()
    assert sorted(versions.states().values()).count("live") == 1
    assert versions.stored() == 600
    assert versions.read(made, "w") == b"".join(keep)


def test_a_chunk_that_was_deleted_or_moved_while_it_was_copied_stays_so(
    versions: StoredVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = content(1000, 1000, 5000)
    versions.log("gone", {"w": chunks})
    versions.log("also-gone", {"w": chunks[:1]})
    kept = versions.log("kept", {"w": chunks[1:2]})
    versions.registry.delete("gone:v0", force=True)
    first = next(iter(versions.states()))

    def while_copying(*_: object) -> None:
        monkeypatch.undo()
        versions.registry.delete("also-gone:v0", force=True)
        versions.collect()  # another collector, which moves what is left

    copy = rewriting._copy
    monkeypatch.setattr(rewriting, "_copy", lambda *given: (copy(*given), while_copying())[0])
    done = versions.collect(as_foreseen=False)
    assert done.get("moved") == (0, 0)
    assert versions.stored() == 1000
    assert versions.states()[first] == "gone"
    assert versions.read(kept, "w") == chunks[1]


def test_damaged_chunks_are_not_copied_and_their_pack_is_kept(versions: StoredVersions) -> None:
    chunks = content(1000, 5000)
    versions.log("gone", {"w": chunks})
    kept = versions.log("kept", {"w": chunks[:1]})
    versions.registry.delete("gone:v0", force=True)
    store = versions.store
    assert isinstance(store, FaultyStore)
    store.flip_bit(store.calls["read"] + 1)
    assert versions.collect(as_foreseen=False).get("moved") == (0, 0)
    assert not versions.collect()
    assert versions.stored() == 6000
    versions.log("repaired", {"w": chunks[:1]})
    versions.collect()
    assert versions.stored() == 1000
    assert versions.read(kept, "w") == chunks[0]


def test_a_store_with_another_id_is_not_touched(versions: StoredVersions) -> None:
    versions.log("gone", {"w": content(1000)})
    versions.registry.delete("gone:v0", force=True)
    versions.confirmed._store_id = "another"
    with pytest.raises(errors.StoreUnavailable):
        versions.collect()
    assert (versions.stored(), set(versions.states().values())) == (1000, {"live"})


def test_a_full_disk_keeps_packs_from_being_copied_and_not_from_being_deleted(
    versions: StoredVersions,
) -> None:
    chunks = content(1000, 5000)
    versions.log("half", {"w": chunks})
    kept = versions.log("kept", {"w": chunks[:1]})
    versions.log("whole", {"w": content(3000)})
    for name in ("half", "whole"):
        versions.registry.delete(f"{name}:v0", force=True)
    store = versions.store
    assert isinstance(store, FaultyStore)
    store.fail("put", store.calls["put"] + 1, errors.DiskFull("full"))
    with pytest.raises(errors.DiskFull):
        versions.collector().collect()
    assert versions.stored() == 6000
    versions.collect(as_foreseen=False)
    assert versions.stored() == 1000
    assert versions.read(kept, "w") == chunks[0]


def test_a_failed_delete_is_repeated_by_the_next_collection(versions: StoredVersions) -> None:
    versions.log("gone", {"w": content(1000)})
    versions.registry.delete("gone:v0", force=True)
    store = versions.store
    assert isinstance(store, FaultyStore)
    store.fail("delete")
    with pytest.raises(errors.StoreUnavailable):
        versions.collect()
    assert set(versions.states().values()) == {"trash"}
    versions.collect()
    assert (versions.stored(), set(versions.states().values())) == (0, {"gone"})


class TestLargeFiles:
    """Files of more chunks than one transaction stores, with a transaction of few rows."""

    @pytest.fixture(autouse=True)
    def _few_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bounded, "ROWS", 4)
        monkeypatch.setattr(staging, "ROWS", 4)

    def _store(self, versions: StoredVersions, upload_id: str, chunks: list[bytes], times: int = 100) -> int:
        """Stores the file in transactions, so many at most; how many it took."""
        manifest = Manifest()
        manifest.add_file("w", cut(chunks))
        manifest.finish(None)
        (part,) = staging.parts(manifest)
        versions.confirm()
        for turn in range(1, times + 1):
            if versions.registry.write(
                staging.store, upload_id, "0190c5f8-0000-7000-8000-000000000000", part, ""
            ):
                return turn
        return times

    def _file(self, versions: StoredVersions) -> list[tuple[int | None, int]]:
        """How far each file is stored, and the number of its chunks."""

        def run(session: Session) -> list[tuple[int | None, int]]:
            files = session.execute(select(File.id, File.next_chunk)).all()
            return [
                (next_, len(session.scalars(select(FileChunk.idx).where(FileChunk.file_id == id_)).all()))
                for id_, next_ in files
            ]

        return versions.registry.database.read(run)

    def test_they_are_deleted_in_several_transactions(self, versions: StoredVersions) -> None:
        upload_id, chunks = versions.upload(), content(*[100] * 11)
        versions.send(upload_id, chunks)
        assert self._store(versions, upload_id, chunks) == 3
        versions.drop_uploads()
        database = versions.registry.database
        found = database.read(lambda session: rows.find_files(session, 0)).ids
        seen = []
        while found:
            found = database.write(lambda session, ids=found: rows.delete_files(session, ids)).left
            seen += self._file(versions)
        assert seen == [(7, 7), (3, 3)]
        versions.collect()
        assert (versions.stored(), versions.counts()) == (0, (0, 0, 0))

    def test_one_that_is_half_deleted_is_stored_again_from_there(self, versions: StoredVersions) -> None:
        upload_id, chunks = versions.upload(), content(*[100] * 11)
        versions.send(upload_id, chunks)
        self._store(versions, upload_id, chunks)
        versions.drop_uploads()
        database = versions.registry.database
        found = database.read(lambda session: rows.find_files(session, 0)).ids
        database.write(lambda session: rows.delete_files(session, found))
        again = versions.upload()
        assert versions.missing(again, chunks) == []
        assert self._store(versions, again, chunks) == 1
        assert self._file(versions) == [(None, 11)]
        assert not versions.collect()

    def test_one_that_is_being_stored_is_kept(self, versions: StoredVersions) -> None:
        upload_id, chunks = versions.upload(), content(*[100] * 11)
        versions.send(upload_id, chunks)
        self._store(versions, upload_id, chunks, times=1)
        assert not versions.collect()
        assert self._file(versions) == [(4, 4)]
        versions.end_uploads()
        versions.collect()
        assert versions.counts() == (0, 0, 0)


def test_a_read_that_goes_on_after_its_version_was_deleted_says_so(versions: StoredVersions) -> None:
    """SQLite gives the id of the deleted file to the next one, whose bytes must not be sent instead."""
    chunks = content(1000)
    version = versions.log("gone", {"w": chunks})
    database = versions.registry.database
    info = database.read(lambda session: file_ranges.file(session, version.id, Range("w")))
    versions.registry.delete("gone:v0", force=True)
    versions.collect()
    other = versions.log("other", {"w": content(1000)})
    fresh = database.read(lambda session: file_ranges.file(session, other.id, Range("w")))
    assert (fresh.id == info.id) is database.is_sqlite
    with pytest.raises(errors.NotFound, match="deleted while it was read"):
        database.read(lambda session: file_ranges.pieces(session, {"w": info}, [Range("w")]))
    database.write(lambda session: file_ranges.remember_sha256s(session, [(info.id, info.digest, b"x" * 32)]))
    assert database.read(lambda session: file_ranges.file(session, other.id, Range("w"))) == fresh


def test_rows_of_packs_that_are_gone_are_forgotten(versions: StoredVersions) -> None:
    versions.log("gone", {"w": content(1000)})
    versions.registry.delete("gone:v0", force=True)
    versions.collect()
    assert len(versions.states()) == 1
    versions.registry.database.write(lambda session: session.execute(update(Pack).values(changed_at=1)))
    versions.collect()
    assert versions.states() == {}


class TestUsage:
    """Who holds what: two artifacts that share a file, a run with one of its own, an open upload."""

    @pytest.fixture
    def shared(self, versions: StoredVersions) -> StoredVersions:
        common, own, other = content(4000), content(1000), content(200)
        versions.log("a", {"w": common, "own": own})
        versions.log("a", {"w": common})
        versions.log("b", {"w": common, "other": other})
        versions.log("gone", {"w": content(3000)})
        versions.registry.delete("gone:v0", force=True)
        versions.send(versions.upload(), content(50))
        return versions

    def test_of_entities_projects_and_artifacts(self, shared: StoredVersions) -> None:
        database = shared.registry.database

        def look(session: Session) -> tuple[object, ...]:
            entity = owners.find_entity(session, LOCAL, ENTITY)
            project = owners.find_project(session, LOCAL, ENTITY, "p")
            found = [each for each in usage.entities(session) if each.name == ENTITY]
            return found, usage.projects(session, entity), usage.artifacts(session, project)

        entities, projects, artifacts = database.read(look)
        assert entities == [InStore(ENTITY, 8250, 5250, 0)]
        assert projects == [Held("p", 3, 5200, 5200)]
        assert artifacts == [Held("a", 2, 5000, 1000), Held("b", 1, 4200, 200), Held("gone", 0, 0, 0)]
        shared.collect(Rules())
        assert database.read(look)[0] == [InStore(ENTITY, 8250, 5250, 3000)]

    def test_of_what_a_ref_stands_for(self, shared: StoredVersions) -> None:
        def look(ref: str) -> holders.Explanation:
            return shared.registry.database.read(lambda session: holders.explain(session, full(ref)))

        first = look("a:v0")
        assert (first.name, first.versions, first.size, first.alone) == ("acme/p/a:v0", 1, 5000, 1000)
        assert sorted(first.holders) == [Holder("acme/p/a:v1", 4000), Holder("acme/p/b:v0", 4000)]
        assert first.refusing == []
        whole = look("a")
        assert (whole.name, whole.versions, whole.size, whole.alone) == ("acme/p/a", 2, 5000, 1000)
        assert whole.holders == [Holder("acme/p/b:v0", 4000)]
        assert whole.refusing == []
        assert look("b:v0").refusing == ["alias latest"]
        with pytest.raises(errors.NotFound):
            look("absent:v0")

    def test_what_deleting_frees_is_what_comes_back(self, shared: StoredVersions) -> None:
        shared.collect()
        alone = shared.registry.database.read(lambda session: holders.explain(session, full("a:v0"))).alone
        before = shared.stored()
        shared.registry.delete("a:v0", force=True)
        shared.collect(Rules(retention=0, dead=0.0))
        assert before - shared.stored() == alone

    def test_an_open_upload_is_a_holder(self, versions: StoredVersions) -> None:
        chunks = content(1000)
        versions.log("a", {"w": chunks})
        upload_id = versions.upload()
        versions.missing(upload_id, chunks)
        found = versions.registry.database.read(lambda session: holders.explain(session, full("a:v0")))
        assert (found.alone, [holder.size for holder in found.holders]) == (0, [1000])
        assert upload_id in found.holders[0].what
