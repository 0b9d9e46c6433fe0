"""The checker names every kind of damage, on both databases and stores, and nothing where there is none."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from modelyard_server.fsck.findings import DAMAGE, NOTES
from tests.clients import fast_upload
from tests.clients.checker import Checked, fsck_here
from tests.clients.checker import fsck as run_fsck
from tests.clients.sample_content import Sample, fill
from tests.clients.waiting import until
from tests.faults.repair.stored_place import FolderPlace, Place, ProductionPlace
from tests.parts.s3 import S3Server
from tests.parts.server import Factory, LiveServer, production_place, run_server_command

BERT = "(SELECT id FROM collection WHERE name = 'bert')"
CHURN = "(SELECT id FROM collection WHERE name = 'Churn')"
V0, V1, V2 = (f"(SELECT id FROM artifact_version WHERE number = {n})" for n in range(3))
W = f"(SELECT file_id FROM version_file WHERE version_id = {V0} AND uri IS NULL ORDER BY size DESC LIMIT 1)"
"""The file of three chunks."""


def chunk(index: int) -> str:
    """The chunk of `w` with this index."""
    return f"(SELECT chunk_id FROM file_chunk WHERE file_id = {W} AND idx = {index})"


FROM_W = f"FROM version_file WHERE file_id = {W}"
PACK = f"(SELECT pack_id FROM chunk JOIN file_chunk ON chunk_id = chunk.id WHERE file_id = {W} LIMIT 1)"


class Filled(NamedTuple):
    """A place with content, whose server was stopped."""

    place: FolderPlace | ProductionPlace
    sample: Sample


@pytest.fixture(scope="module", params=["sqlite+disk", "postgresql+s3"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """One of each pair, for all tests of this module."""
    folder = tmp_path_factory.mktemp("fsck")
    if request.param == "sqlite+disk":
        server = LiveServer(folder)
        place: FolderPlace | ProductionPlace = FolderPlace(server.data)
    else:
        options, env = production_place(request)
        server = LiveServer(folder, place=options, env=env)
        store: S3Server = request.getfixturevalue("minio_server")
        bucket = options[3].removeprefix("s3://").partition("?")[0]
        place = ProductionPlace(options[1], store, bucket)
    try:
        sample = fill(server.start().stubs(), "p")
        until(lambda: place.sql("SELECT id FROM metric_block") != [])
    finally:
        server.stop()
        server.close()
    return Filled(place, sample)


def fsck(place: Place, *options: str) -> Checked:
    """Checks a place."""
    return run_fsck(place.options, place.env, *options)


@pytest.fixture
def place(filled: Filled, tmp_path: Path) -> Iterator[Place]:
    """A copy, to be damaged."""
    with filled.place.copied(tmp_path / "copy" / "data") as copied:
        yield copied


def test_a_store_without_damage_has_no_findings(place: Place) -> None:
    done = fsck(place, "--read-data", "100")
    assert done.report["findings"] == []
    assert done.code == 0
    assert done.report["complete"]
    assert all(check["examined"] for check in done.report["checks"]), done.report["checks"]


DAMAGES: dict[str, tuple[list[str], set[str]]] = {
    "size of a version": (
        [f"UPDATE artifact_version SET size = size + 1 WHERE id = {V0}"],
        {"version_incomplete"},
    ),
    "digest of a version": (
        [f"UPDATE artifact_version SET digest = {{ff}} WHERE id = {V0}"],
        {"version_incomplete"},
    ),
    "lost entry": (
        [f"DELETE FROM version_file WHERE version_id = {V0} AND file_id = {W}"],
        {"version_incomplete"},
    ),
    "path of an entry": (
        [f"UPDATE version_file SET path = {{ff}} WHERE file_id = {W}"],
        {"version_incomplete"},
    ),
    "reference": (
        ["UPDATE version_file SET uri = 's3://other/key' WHERE uri IS NOT NULL"],
        {"version_incomplete"},
    ),
    "removal of a live version": (
        [f"INSERT INTO manifest_removal SELECT id FROM artifact_version WHERE id = {V0}"],
        {"version_incomplete"},
    ),
    "entries of a tombstone": (
        [
            "INSERT INTO version_file (version_id, path, file_id, size, uri, tag) "
            f"SELECT {V2}, path, file_id, size, uri, tag {FROM_W}"
        ],
        {"entries_left"},
    ),
    "size of a file": ([f"UPDATE file SET size = size + 1 WHERE id = {W}"], {"file_broken", "entry_wrong"}),
    "digest of a file": (
        [f"UPDATE file SET digest = {{ff}} WHERE id = {W}"],
        {"file_broken", "version_incomplete"},
    ),
    "SHA-256 of a file": (
        [f"UPDATE file SET sha256 = {{ff}} WHERE id <> {W} AND size = 300000"],
        {"file_broken"},
    ),
    "file that is stored in part": ([f"UPDATE file SET next_chunk = 3 WHERE id = {W}"], {"entry_wrong"}),
    "file of a run that is stored in part": (
        ["UPDATE file SET next_chunk = 1 WHERE id = (SELECT file_id FROM run_file)"],
        {"entry_wrong"},
    ),
    "staged entry": (
        [
            "INSERT INTO upload (id, entity_id, project, principal_id, created_at, expires_at) "
            "SELECT id, entity_id, 'p', id, 0, 1 FROM pack ORDER BY id LIMIT 1",
            "INSERT INTO staged_entry (upload_id, commit_id, path, file_id, size, uri, tag) "
            f"SELECT id, id, {{ff}}, {W}, 1, NULL, '' FROM upload "
            "WHERE project = 'p' ORDER BY expires_at LIMIT 1",
        ],
        {"entry_wrong"},
    ),
    "lost chunk of a file": ([f"DELETE FROM file_chunk WHERE file_id = {W} AND idx = 1"], {"file_broken"}),
    "lost last chunk of a file": (
        [f"DELETE FROM file_chunk WHERE file_id = {W} AND idx = 2"],
        {"file_broken"},
    ),
    "start of a chunk": (
        [f"UPDATE file_chunk SET start = start + 1 WHERE file_id = {W} AND idx = 1"],
        {"file_broken"},
    ),
    "size of a chunk": (
        [f"UPDATE chunk SET size = size + 900000 WHERE id = {chunk(2)}"],
        {"file_broken", "chunk_misplaced"},
    ),
    "chunk over another": (
        [f"""UPDATE chunk SET "offset" = "offset" - 1 WHERE id = {chunk(1)}"""],
        {"chunk_misplaced"},
    ),
    "chunk in a pack of another entity": (
        [
            "INSERT INTO entity (id, name, created_at) VALUES (77, 'other', 0)",
            f"UPDATE pack SET entity_id = 77 WHERE id = {PACK}",
        ],
        {"chunk_misplaced", "pack_missing", "object_unknown"},
    ),
    "quarantined chunk": (
        [f"UPDATE chunk SET quarantined_at = 1 WHERE id = {chunk(1)}"],
        {"chunk_quarantined"},
    ),
    "pack in the trash": ([f"UPDATE pack SET state = 'trash' WHERE id = {PACK}"], {"pack_not_live"}),
    "pack that was given up": (
        [f"UPDATE pack SET state = 'gone' WHERE id = {PACK}"],
        {"pack_not_live", "object_left"},
    ),
    "lost row of a pack": ([f"DELETE FROM pack WHERE id = {PACK}"], {"reference_broken", "object_unknown"}),
    "lost row of a file": ([f"DELETE FROM file WHERE id = {W}"], {"reference_broken", "version_incomplete"}),
    "lost file of a run": (["UPDATE run_file SET file_id = 4711"], {"reference_broken"}),
    "counter behind its numbers": (
        [f"UPDATE collection SET next_version = 2 WHERE id = {BERT}"],
        {"number_ahead", "history_differs"},
    ),
    "number of two versions": (
        [
            "CREATE TABLE copied AS SELECT * FROM artifact_version",
            "DROP TABLE artifact_version CASCADE",
            "ALTER TABLE copied RENAME TO artifact_version",
            "UPDATE artifact_version SET number = 0 WHERE number = 1",
        ],
        {"number_repeated", "history_differs"},
    ),
    "project of a version": (
        [f"UPDATE artifact_version SET project_id = 4711 WHERE id = {V0}"],
        {"owner_wrong"},
    ),
    "entity of a run": (["UPDATE run SET entity_id = 4711"], {"owner_wrong", "entry_wrong"}),
    "deleted collection with versions": (
        [f"UPDATE collection SET deleted_at = 1 WHERE id = {BERT}"],
        {"collection_wrong", "history_differs"},
    ),
    "link of a deleted version": (
        [f"UPDATE artifact_version SET deleted_at = 1 WHERE id = {V0}"],
        {"link_broken", "alias_wrong", "history_differs", "entries_left"},
    ),
    "alias that moved by itself": (
        [f"UPDATE alias SET version_id = {V1} WHERE alias = 'best'"],
        {"history_differs"},
    ),
    "alias into another collection": (
        [
            f"UPDATE alias SET version_id = {V0}, link_id = NULL "
            f"WHERE collection_id = {CHURN} AND alias = 'latest'"
        ],
        {"alias_wrong"},
    ),
    "lost alias": (["DELETE FROM alias WHERE alias = 'best'"], {"history_differs"}),
    "lost event": (["DELETE FROM event WHERE type = 'tag_added'"], {"event_gap"}),
    "counter of events": (["UPDATE project SET event_seq = event_seq + 1 WHERE name = 'p'"], {"event_gap"}),
    "event about another version": (
        [
            "UPDATE event SET details = '{}' WHERE type = 'version_created' AND seq = "
            "(SELECT max(seq) FROM event WHERE type = 'version_created')"
        ],
        {"history_differs"},
    ),
    "batch of metrics": (["UPDATE metric_batch SET payload = {ff} WHERE sequence = 1"], {"metrics_broken"}),
    "steps of a block": (["UPDATE metric_block SET steps = {ff}"], {"metrics_broken"}),
    "times of a block": (["UPDATE metric_block SET times = {ff}"], {"metrics_broken"}),
    "points of a block": (["UPDATE metric_segment SET points = {ff}"], {"metrics_broken"}),
    "tile of a block": (["UPDATE metric_segment SET tile = places"], {"metrics_broken"}),
    "lost block": (["DELETE FROM metric_segment", "DELETE FROM metric_block"], {"metrics_broken"}),
    "numbers of a metric": (["UPDATE metric_key SET number_count = 1"], {"metrics_broken"}),
    "lines of a console": (["UPDATE console_segment SET payload = {ff}"], {"console_broken"}),
    "count of lines": (["UPDATE console_segment SET line_count = 7"], {"console_broken"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_rows_are_named(place: Place, name: str) -> None:
    statements, kinds = DAMAGES[name]
    if isinstance(place, FolderPlace):
        statements = [statement.replace(" CASCADE", "") for statement in statements]
    place.sql(*statements)
    done = fsck_here(place.location)
    assert done.kinds == kinds, done.report["findings"]
    assert done.code == (1 if kinds & DAMAGE.keys() else 0)


def test_each_kind_is_tested_and_documented() -> None:
    tested = {kind for _, kinds in DAMAGES.values() for kind in kinds} | {
        kind for _, kind in OBJECTS.values()
    }
    assert tested == {*DAMAGE, *NOTES} - {"database_corrupt"}
    text = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    assert [kind for kind in [*DAMAGE, *NOTES] if f"| `{kind}` |" not in text] == []


def pack_of(place: Place) -> str:
    """The key of the pack that has the three chunks of `w`."""
    entity, pack = place.sql(f"SELECT entity_id, id FROM pack WHERE id = {PACK}")[0]
    return f"packs/{entity}/{uuid.UUID(str(pack))}"


def remove(place: Place, key: str) -> None:
    place.write(key, None)


def shorten(place: Place, key: str) -> None:
    place.write(key, place.objects()[key][:-1])


def lengthen(place: Place, key: str) -> None:
    place.write(key, place.objects()[key] + b"0")


def flip(place: Place, key: str) -> None:
    data = bytearray(place.objects()[key])
    data[500_000] ^= 1
    place.write(key, bytes(data))


def add(place: Place, key: str) -> None:
    place.write(key[:-4] + "0000", b"0")


OBJECTS: dict[str, tuple[Callable[[Place, str], None], str]] = {
    "removed": (remove, "pack_missing"),
    "shortened": (shorten, "pack_short"),
    "lengthened": (lengthen, "pack_long"),
    "flipped": (flip, "chunk_corrupt"),
    "added": (add, "object_unknown"),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_damaged_objects_are_named_with_the_versions_that_they_touch(place: Place, name: str) -> None:
    damage, kind = OBJECTS[name]
    key = pack_of(place)
    damage(place, key)
    done = fsck_here(place.location)
    assert [finding["kind"] for finding in done.report["findings"]] == [kind]
    (finding,) = done.report["findings"]
    if kind in DAMAGE:
        assert done.code == 1
        assert finding["about"]["pack"] == key
    else:
        assert done.code == 0
    if kind not in ("pack_long", "object_unknown"):
        assert "bert:v0" in done.versions(kind)
    assert place.sql("SELECT 1 FROM chunk WHERE quarantined_at IS NOT NULL") == []


def test_bytes_are_compared_only_if_that_is_asked_for(place: Place) -> None:
    flip(place, pack_of(place))
    assert fsck_here(place.location, read_percent=0).code == 0
    assert fsck_here(place.location, read_percent=0.001).report["checks"][-1]["examined"] == 1


@pytest.mark.parametrize("name", ["removed", "shortened", "flipped"])
def test_quarantined_content_is_whole_again_when_it_is_logged_again(
    place: Place, filled: Filled, live_server_factory: Factory, name: str
) -> None:
    OBJECTS[name][0](place, pack_of(place))
    stubs = started(place, live_server_factory).stubs()
    done = fsck(place, "--read-data", "100", "--quarantine")
    (finding,) = done.report["findings"]
    assert finding["quarantined_chunks"] >= 1
    assert fsck_here(place.location).kinds == {"chunk_quarantined"}
    fast_upload.log(stubs, "p", "again", filled.sample.files, type="model")
    assert fsck_here(place.location).report["findings"] == []
    for path, chunks in filled.sample.files.items():
        assert fast_upload.read(stubs, filled.sample.version.id, path) == b"".join(chunks)


@pytest.mark.parametrize("how", ["unmounted", "empty", "another"])
def test_nothing_is_quarantined_while_the_store_is_away(place: Place, tmp_path: Path, how: str) -> None:
    options = list(place.options)
    store = tmp_path / "elsewhere"
    if how != "unmounted":
        (store / "packs").mkdir(parents=True)
    if how == "another":
        (store / "store-id").write_text("another")
    if "--store" in options:
        options = options[: options.index("--store")]
    where = (*options, "--store", f"file://{store}")
    done = run_server_command("fsck", *where, "--json", "--quarantine", "--read-data", "100", env=place.env)
    assert done.returncode == 2
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert report["checks"][-1]["error"]
    assert place.sql("SELECT 1 FROM chunk WHERE quarantined_at IS NOT NULL") == []


def test_what_the_time_did_not_suffice_for_is_reported(place: Place) -> None:
    done = fsck(place, "--max-duration", "0")
    assert done.code == 0
    assert not done.report["complete"]
    assert not any(check["complete"] for check in done.report["checks"])


def test_lines_for_people_name_damage_and_versions(place: Place) -> None:
    key = pack_of(place)
    remove(place, key)
    done = run_server_command("fsck", *place.options, env=place.env)
    assert done.returncode == 1
    assert f"damage  pack_missing: {key} is not in the store: 4 chunks are lost" in done.stdout
    assert "bert:v0, local/p/bert:v1" in done.stdout
    assert "1 damage found" in done.stdout


def test_a_place_that_cannot_be_checked_is_code_two(tmp_path: Path) -> None:
    done = run_server_command("fsck", "--data", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "there is no database" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_damaged_file_of_sqlite_is_named(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    fast_upload.log(server.stubs(), "p", "bert", {"w": fast_upload.random_chunks(1)}, type="model")
    server.stop()
    place = FolderPlace(server.data)
    path = place.folder / "modelyard.db"
    page = place.scalar("SELECT rootpage FROM sqlite_master WHERE name = 'ix_event_collection_seq'")
    size = place.scalar("PRAGMA page_size")
    place.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    done = fsck(place)
    assert "database_corrupt" in done.kinds
    assert done.code in (1, 2)


def started(place: Place, factory: Factory) -> LiveServer:
    """A server on it."""
    if isinstance(place, FolderPlace):
        return factory(folder=place.folder.parent).start()
    return factory(place=place.options, env=place.env).start()
