"""A large commit that failed leaves nothing visible, can be repeated, and its rows are swept."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from modelyard.v1 import event_pb2, run_file_pb2, run_pb2, upload_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.db.bounded import ROWS
from modelyard_server.db.engine import Database
from modelyard_server.db.tables import ArtifactVersion, File, Pin, StagedEntry, Upload
from modelyard_server.domain import events
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.inprocess.sweep import DAY, sweep
from tests.parts.server import Factory, LiveServer, Stubs, new_project, production_place

_RANDOM = random.Random(0)  # with this seed the model is staged first, as files are staged by their digest
FILES = {"model": [_RANDOM.randbytes(16) for _ in range(ROWS + 7)], "config": [b"{}"]}
"""The first file is stored in two transactions."""
CHUNKS = [chunk for chunks in FILES.values() for chunk in chunks]


@pytest.fixture(params=["sqlite+disk", "postgresql+s3"])
def server(request: pytest.FixtureRequest, live_server_factory: Factory) -> LiveServer:
    """A server, not started yet, over each pair of database and store."""
    if request.param == "sqlite+disk":
        return live_server_factory()
    place, env = production_place(request)
    return live_server_factory(place=place, env=env)


def test_a_large_commit_that_fails_at_any_step_is_invisible_and_can_be_repeated(server: LiveServer) -> None:
    server.env["MODELYARD_FAILPOINTS"] = "commit.staged=error@1;commit.before=error@1;commit.inside=error@1"
    stubs, project = server.start().stubs(), new_project()
    upload_id = fast_upload.create(stubs, project=project)
    send(stubs, upload_id, CHUNKS[:-2])
    with refused("CHUNKS_MISSING"):
        commit(stubs, upload_id, project)
    assert_nothing_is_visible(stubs, project)
    assert_not_stored(stubs, project)
    send(stubs, upload_id, CHUNKS[-2:])
    for _ in ("commit.staged", "commit.before", "commit.inside"):
        with refused("INTERNAL"):
            commit(stubs, upload_id, project)
        assert_nothing_is_visible(stubs, project)
    # Staged once in all. A sweep of the server itself changes nothing here: the upload is open.
    assert rows(server)[StagedEntry] == len(FILES)
    other = fast_upload.log(stubs, project, "bert", {"small": []}).version
    made = commit(stubs, upload_id, project)
    assert (other.number, made.version.number, made.created) == (0, 1, True)
    for path, chunks in FILES.items():
        assert fast_upload.read(stubs, made.version.id, path) == b"".join(chunks)
    server.stop()
    # The commit staged nothing more; where the server has swept since, nothing is left.
    assert rows(server)[StagedEntry] in {0, len(FILES)}
    swept(server)
    assert rows(server) == {StagedEntry: 0, Pin: 0, Upload: 0, File: 3, ArtifactVersion: 2}


def test_what_an_abandoned_large_commit_staged_ends_with_its_upload(server: LiveServer) -> None:
    server.env["MODELYARD_FAILPOINTS"] = "commit.before=error@1"
    stubs, project = server.start().stubs(), new_project()
    upload_id = fast_upload.create(stubs, project=project)
    send(stubs, upload_id, CHUNKS)
    with refused("INTERNAL"):
        commit(stubs, upload_id, project)
    server.stop()
    assert rows(server) == {
        StagedEntry: len(FILES),
        Pin: len(CHUNKS),
        Upload: 1,
        File: len(FILES),
        ArtifactVersion: 0,
    }
    swept(server, upload_id)
    assert rows(server) == {StagedEntry: 0, Pin: 0, Upload: 0, File: len(FILES), ArtifactVersion: 0}
    del server.env["MODELYARD_FAILPOINTS"]
    stubs = server.start().stubs()
    with refused("UPLOAD_EXPIRED"):
        commit(stubs, upload_id, project)
    assert_nothing_is_visible(stubs, project)
    again = fast_upload.create(stubs, project=project)
    send(stubs, again, CHUNKS)
    made = commit(stubs, again, project)
    assert (made.version.number, made.created) == (0, True)
    assert fast_upload.read(stubs, made.version.id, "model") == b"".join(FILES["model"])


def test_a_large_commit_of_run_files_is_stored_in_parts_and_visible_at_once(server: LiveServer) -> None:
    server.env["MODELYARD_FAILPOINTS"] = "commit.staged=error@1"
    stubs, project = server.start().stubs(), new_project()
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project, name="r"))).run
    upload_id = fast_upload.create(stubs, project=project)
    entries = [fast_upload.entry(path, chunks) for path, chunks in FILES.items()]
    request = run_file_pb2.CommitRunFilesRequest(run_id=run.id, upload_id=upload_id, entries=entries)
    with refused("CHUNKS_MISSING"):
        stubs.run_files.CommitRunFiles(request)
    send(stubs, upload_id, CHUNKS)
    with refused("INTERNAL"):
        stubs.run_files.CommitRunFiles(request)
    # What is stored ahead is in transactions of its own, and not visible.
    assert rows(server)[StagedEntry] == 1
    listed = run_file_pb2.ListRunFilesRequest(run_id=run.id)
    assert len(stubs.run_files.ListRunFiles(listed).files) == 0
    for _ in range(2):
        assert stubs.run_files.CommitRunFiles(request).file_count == len(FILES)
        assert rows(server)[StagedEntry] == 0
    for path, chunks in FILES.items():
        parts = stubs.run_files.DownloadRunFile(run_file_pb2.DownloadRunFileRequest(run_id=run.id, path=path))
        assert b"".join(part.data for part in parts) == b"".join(chunks)


def send(stubs: Stubs, upload_id: str, chunks: Sequence[bytes]) -> None:
    """Sends the chunks that are missing, 1,000 a message."""

    def messages() -> Iterator[upload_pb2.UploadChunksRequest]:
        for start in range(0, len(chunks), 1000):
            part = chunks[start : start + 1000]
            yield upload_pb2.UploadChunksRequest(
                upload_id="" if start else upload_id,
                chunks=[fast_upload.message_chunk(chunk) for chunk in part],
                data=b"".join(part),
            )

    for _ in stubs.uploads.UploadChunks(messages(), timeout=120):
        pass


def commit(stubs: Stubs, upload_id: str, project: str) -> pb.CommitModelArtifactResponse:
    header = pb.VersionHeader(project=project, name="bert")
    entries = [fast_upload.entry(path, chunks) for path, chunks in FILES.items()]
    return fast_upload.commit(stubs, upload_id, header, entries)


def assert_nothing_is_visible(stubs: Stubs, project: str) -> None:
    """Not even the project, which a commit makes."""
    with refused("NOT_FOUND"):
        stubs.artifacts.GetModelArtifactVersion(pb.GetModelArtifactVersionRequest(ref=f"{project}/bert"))
    with refused("NOT_FOUND"):
        stubs.artifacts.ListModelArtifacts(pb.ListModelArtifactsRequest(project=project))
    with refused("NOT_FOUND"):
        stubs.events.ListEvents(event_pb2.ListEventsRequest(project=project))


def assert_not_stored(stubs: Stubs, project: str) -> None:
    """The large file, of which some chunks have rows, does not count as stored."""
    chunks = FILES["model"]
    digest = fast_upload.file_digest(chunks)
    entry = pb.ManifestEntry(path="model", digest=digest, size_bytes=16 * len(chunks))
    header = pb.VersionHeader(project=project, name="bert")
    with refused("CHUNKS_MISSING"):
        stubs.artifacts.CommitEqualContent(pb.CommitEqualContentRequest(header=header, entries=[entry]))


def database_of(server: LiveServer) -> Database:
    options = dict(zip(server.place[::2], server.place[1::2], strict=True))
    url = options.get("--database") or f"sqlite:///{server.data / 'modelyard.db'}"
    return Database(url, finish=events.flush)


def rows(server: LiveServer) -> dict[type, int]:
    """How many rows a server, also one that runs, has of the tables that a commit writes."""

    def count(session: Session) -> dict[type, int]:
        tables = (StagedEntry, Pin, Upload, File, ArtifactVersion)
        return {table: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}

    database = database_of(server)
    try:
        return database.read(count)
    finally:
        database.close()


def swept(server: LiveServer, *expired: str) -> None:
    """Sweeps the database of a stopped server, after making some uploads two days old."""
    older = update(Upload).where(Upload.id.in_(expired)).values(expires_at=Upload.expires_at - 2 * DAY)
    database = database_of(server)
    try:
        database.write(lambda session: session.execute(older))
        sweep(database)
    finally:
        database.close()
