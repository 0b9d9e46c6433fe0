"""The collector in the background: slices of bounded work, times that the sweep trusts, failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.collecting import rows
from modelyard_server.db.engine import now
from modelyard_server.db.tables import SweepTime
from modelyard_server.packs import store_from_url
from modelyard_server.process import collecting
from modelyard_server.process.collecting import BackgroundCollector
from tests.clients import fast_upload
from tests.clients.waiting import until
from tests.contracts.pack_store import new_key, put
from tests.inprocess.databases import sqlite_database
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.registry import Registry
from tests.inprocess.stored_versions import StoredVersions, content
from tests.inprocess.sweep import DAY, MINUTE
from tests.parts.server import Factory


@pytest.fixture(autouse=True)
def without_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "REST", 0)


@pytest.fixture
def versions(tmp_path: Path) -> Iterator[StoredVersions]:
    """Versions on SQLite with a folder, of which one was deleted."""
    with sqlite_database(tmp_path) as database:
        made = StoredVersions(Registry(database), FaultyStore(store_from_url(str(tmp_path / "store"))))
        made.log("gone", {"w": content(1000)})
        made.log("kept", {"w": content(1000)})
        made.registry.delete("gone:v0", force=True)
        yield made


def trust(versions: StoredVersions, ahead: int = 0) -> None:
    """Sets the time that the sweep trusts."""

    def run(session: Session) -> None:
        session.merge(SweepTime(id=1, trusted_at=now(session) + ahead))

    versions.registry.database.write(run)


def background(versions: StoredVersions, retention: int = 0) -> BackgroundCollector:
    return BackgroundCollector(versions.registry.database, versions.confirmed, retention)


def test_a_slice_gives_back_what_was_deleted(
    versions: StoredVersions, caplog: pytest.LogCaptureFixture
) -> None:
    trust(versions)
    with caplog.at_level(logging.INFO):
        background(versions).run_slice()
    assert versions.stored() == 1000
    assert "1 packs deleted from the store (1000 bytes)" in caplog.text


def test_slices_without_time_do_a_piece_of_each_step_and_go_on_there(
    versions: StoredVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PAGE", 2)
    for index in range(6):
        versions.log(f"more{index}", {"w": content(100)})
        versions.registry.delete(f"more{index}:v0", force=True)
    trust(versions)
    collector, files = background(versions), []
    while not files or files[-1] > 1:
        collector.run_slice(0.0)
        files.append(versions.counts()[0])
    assert len(set(files)) > 2
    assert files == sorted(files, reverse=True)


def test_nothing_is_given_up_before_there_is_a_time_to_trust(versions: StoredVersions) -> None:
    background(versions).run_slice()
    assert set(versions.states().values()) == {"live"}


def test_the_retention_is_over_by_the_time_that_the_sweep_trusts(versions: StoredVersions) -> None:
    trust(versions, ahead=-2 * DAY)
    collector = background(versions, retention=DAY)
    collector.run_slice()
    assert set(versions.states().values()) == {"live", "trash"}
    trust(versions, ahead=-DAY - MINUTE)
    collector.run_slice()
    assert versions.stored() == 2000
    trust(versions)
    collector.run_slice()
    assert versions.stored() == 1000


def test_a_store_that_is_away_is_tried_again(
    versions: StoredVersions, caplog: pytest.LogCaptureFixture
) -> None:
    trust(versions)
    store = versions.store
    assert isinstance(store, FaultyStore)
    store.fail("delete")
    collector = background(versions)
    collector.run_slice()
    assert "collecting trash failed and will be repeated" in caplog.text
    assert versions.stored() == 2000
    collector.run_slice()
    assert versions.stored() == 1000


def test_a_step_rests_after_it_came_to_its_end(
    versions: StoredVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "REST", 1_000_000)
    trust(versions)
    collector = background(versions)
    collector.run_slice()
    assert versions.stored() == 1000
    versions.registry.delete("kept:v0", force=True)
    collector.run_slice()
    assert versions.stored() == 1000


def test_the_store_is_listed_once_a_day(versions: StoredVersions) -> None:
    trust(versions)
    collector = background(versions)
    collector.run_slice()
    put(versions.store, new_key(), b"x")
    collector.run_slice()
    assert versions.stored() == 1001
    background(versions).run_slice()
    assert versions.stored() == 1000


def test_a_cancelled_collector_ends(versions: StoredVersions) -> None:
    trust(versions)

    async def run() -> None:
        task = asyncio.create_task(background(versions).run_forever(0.01))
        while versions.stored() > 1000:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_server_collects_by_itself(live_server_factory: Factory) -> None:
    server = live_server_factory("--retention", "0", "--collect-seconds", "0.1").start()
    stubs, chunks = server.stubs(), fast_upload.random_chunks(2)
    gone = fast_upload.log(stubs, "p", "model", {"w": chunks[:1]}).version
    kept = fast_upload.log(stubs, "p", "model", {"w": chunks[1:]}).version
    stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=gone.id, force=True))
    until(lambda: len(list((server.data / "store").glob("packs/*/*"))) == 1)
    assert fast_upload.read(stubs, kept.id, "w") == chunks[1]
