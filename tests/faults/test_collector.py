"""The collector beside servers: killed at any step, several at once, beside uploads and downloads."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from sqlalchemy import create_engine, text

from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.settings import parse_location
from tests.clients import fast_upload
from tests.clients.fast_upload import CHUNK, random_chunks
from tests.clients.refusals import refused
from tests.clients.waiting import until
from tests.parts.fork_server import start_python
from tests.parts.server import (
    SERVER,
    Factory,
    LiveServer,
    Stubs,
    environment,
    production_place,
    run_server_command,
)

KINDS = ("sqlite+disk", "postgresql+s3")
FAILPOINTS = (
    "collector.files_found",
    "collector.chunks_found",
    "collector.packs_found",
    "collector.abandoned_found",
    "collector.trash_found",
    "collector.object_deleted",
    "collector.strays_found",
    "collector.before_copy",
    "collector.copied",
    "collector.moved",
)
ALL = ("--retention", "0", "--unfinished", "0", "--thorough")


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, live_server_factory: Factory) -> LiveServer:
    """A server of its own on each pair of database and store."""
    made: LiveServer
    if request.param == "sqlite+disk":
        made = live_server_factory()
    else:
        place, env = production_place(request)
        made = live_server_factory(place=place, env=env)
    return made.start()


@pytest.fixture
def packs(server: LiveServer, request: pytest.FixtureRequest) -> Callable[[], dict[str, int]]:
    """The sizes of the packs in the store of the server, by key."""
    if "--store" not in server.place:
        root = server.data / "store"
        return lambda: {str(path.relative_to(root)): path.stat().st_size for path in root.glob("packs/*/*")}
    client = request.getfixturevalue("minio_server").client()
    bucket = server.place[server.place.index("--store") + 1].removeprefix("s3://").partition("?")[0]

    def listed() -> dict[str, int]:
        found = client.list_objects(bucket_name=bucket, prefix="packs/", recursive=True)
        return {each.object_name: each.size for each in found}

    return listed


def collect(server: LiveServer, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `modelyard server collect` beside the server."""
    return run_server_command("collect", *server.place, *(options or ALL), env=server.env | env)


def execute(server: LiveServer, statement: str) -> list[Any]:
    """Runs a statement on the server's database."""
    if "--database" in server.place:
        url = server.place[1].replace("postgresql://", "postgresql+psycopg://")
    else:
        url = parse_location(server.data, None, None).database
    engine = create_engine(url, connect_args={} if "--database" in server.place else {"timeout": 30})
    try:
        with engine.begin() as connection:
            done = connection.execute(text(statement))
            return list(done) if done.returns_rows else []
    finally:
        engine.dispose()


def delete(stubs: Stubs, version: Any) -> None:
    """Deletes a version with its aliases."""
    stubs.artifacts.DeleteModelArtifactVersion(
        pb.DeleteModelArtifactVersionRequest(id=version.id, force=True, request_id=uuid.uuid4().hex)
    )


def test_deleting_a_version_and_collecting_brings_its_bytes_back(
    server: LiveServer, packs: Callable[[], dict[str, int]]
) -> None:
    stubs, shared, own = server.stubs(), random_chunks(2), random_chunks(3)
    kept = fast_upload.log(stubs, "p", "kept", {"w": shared}).version
    gone = fast_upload.log(stubs, "p", "gone", {"w": shared + own}).version
    assert sum(packs().values()) == 5 * CHUNK
    delete(stubs, gone)
    done = collect(server, "--retention", "0")
    assert done.returncode == 0, done.stderr
    assert "1 packs deleted from the store, 900.0 kB" in done.stdout
    assert sum(packs().values()) == 2 * CHUNK
    assert fast_upload.read(stubs, kept.id, "w") == b"".join(shared)
    assert collect(server, "--retention", "0").stdout == "there is nothing to collect\n"
    again = fast_upload.log(stubs, "p", "gone", {"w": shared + own}).version
    assert (again.number, fast_upload.read(stubs, again.id, "w")) == (1, b"".join(shared + own))


def _leave_work_for_every_step(server: LiveServer, put: Callable[[str], None]) -> tuple[Any, list[bytes]]:
    """Leaves what each step deletes, and a version to keep, which is a small part of a pack."""
    stubs, chunks = server.stubs(), random_chunks(5)
    gone = fast_upload.log(stubs, "p", "gone", {"w": chunks}).version
    fast_upload.log(stubs, "p", "also-gone", {"w": random_chunks(1)})
    kept = fast_upload.log(stubs, "p", "kept", {"w": chunks[2:3]}).version
    delete(stubs, gone)
    delete(
        stubs,
        stubs.artifacts.GetModelArtifactVersion(
            pb.GetModelArtifactVersionRequest(ref="p/also-gone:v0")
        ).version,
    )
    server.stop()
    server.env["MODELYARD_FAILPOINTS"] = "writer.after_put=kill"
    with pytest.raises(grpc.RpcError):
        fast_upload.log(server.start().stubs(), "p", "killed", {"w": random_chunks(1)})
    server.wait()
    del server.env["MODELYARD_FAILPOINTS"]
    server.start()
    put(f"packs/1/{uuid.uuid4()}")
    return kept, chunks[2:3]


@pytest.fixture
def put(server: LiveServer, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts an object that belongs to no pack into the store of the server."""
    from modelyard_server.packs import store_from_url
    from tests.contracts import pack_store

    if "--store" in server.place:
        request.getfixturevalue("minio_server")
        url = server.place[server.place.index("--store") + 1]
    else:
        url = str(server.data / "store")
    return lambda key: pack_store.put(store_from_url(url), key, b"x" * 1000)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_collector_killed_at_any_step_is_continued_by_the_next(
    server: LiveServer, packs: Callable[[], dict[str, int]], put: Callable[[str], None], failpoint: str
) -> None:
    kept, chunks = _leave_work_for_every_step(server, put)
    killed = collect(server, MODELYARD_FAILPOINTS=f"{failpoint}=kill")
    assert killed.returncode == -signal.SIGKILL
    stubs = server.stubs()
    assert fast_upload.read(stubs, kept.id, "w") == b"".join(chunks)
    assert collect(server).returncode == 0
    assert fast_upload.read(stubs, kept.id, "w") == b"".join(chunks)
    assert list(packs().values()) == [CHUNK]
    assert {state for (state,) in execute(server, "SELECT DISTINCT state FROM pack")} == {"live", "gone"}
    fast_upload.log(stubs, "p", "kept", {"w": random_chunks(1)})
    checked = run_server_command("fsck", *server.place, "--read-data", "100", env=server.env)
    assert checked.returncode == 0, checked.stdout


def test_an_uploader_that_was_stopped_past_its_expiry_uploads_again(
    server: LiveServer, packs: Callable[[], dict[str, int]]
) -> None:
    stubs, chunks = server.stubs(), random_chunks(2)
    upload_id = fast_upload.create(stubs, project="p")
    fast_upload.send(stubs, upload_id, chunks)
    execute(server, "UPDATE upload SET expires_at = 1")
    assert collect(server).returncode == 0
    assert packs() == {}
    header = pb.VersionHeader(project="p", name="bert")
    with refused("UPLOAD_EXPIRED"):
        fast_upload.commit(stubs, upload_id, header, [fast_upload.entry("w", chunks)])
    version = fast_upload.log(stubs, "p", "bert", {"w": chunks}).version
    assert (version.number, fast_upload.read(stubs, version.id, "w")) == (0, b"".join(chunks))


def test_a_writer_whose_pack_was_given_up_is_told_to_send_again(
    server: LiveServer, packs: Callable[[], dict[str, int]]
) -> None:
    server.stop()
    server.env["MODELYARD_FAILPOINTS"] = "writer.after_put=sleep(8)@1"
    stubs, chunks = server.start().stubs(), random_chunks(1)
    upload_id = fast_upload.create(stubs, project="p")
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(fast_upload.send, stubs, upload_id, chunks)
        until(lambda: bool(packs()))  # it was put, and its writer sleeps
        assert collect(server).returncode == 0
        assert packs() == {}
        with refused("RETRY_TRANSACTION"):
            sending.result()
    assert fast_upload.send(stubs, upload_id, chunks) == 1
    header = pb.VersionHeader(project="p", name="bert")
    version = fast_upload.commit(stubs, upload_id, header, [fast_upload.entry("w", chunks)]).version
    assert fast_upload.read(stubs, version.id, "w") == chunks[0]


def logged(stubs: Stubs, name: str, chunks: list[bytes]) -> Any:
    """A version; repeated as the SDK does when a pack was given up."""
    while True:
        try:
            return fast_upload.log(stubs, "p", name, {"w": chunks}).version
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED:
                raise


@pytest.mark.slow
def test_collectors_beside_uploads_and_deletes_of_the_same_content_lose_nothing(
    server: LiveServer, packs: Callable[[], dict[str, int]]
) -> None:
    """Two collectors with no retention, one of which is killed or stopped again and again."""
    pool_of_chunks, ended = random_chunks(12, 20_000), threading.Event()

    def log_and_delete(worker: int) -> list[tuple[Any, list[bytes]]]:
        stubs, choice = server.stubs(), random.Random(worker)
        kept: list[tuple[Any, list[bytes]]] = []
        for turn in range(25):
            chunks = choice.sample(pool_of_chunks, 3)
            version = logged(stubs, f"model-{worker}", chunks)
            assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)
            kept = [each for each in kept if each[0].id != version.id]
            if turn % 4:
                delete(stubs, version)
            else:
                kept.append((version, chunks))
        return kept

    def collect_on_and_on(interrupted: bool) -> None:
        while not ended.is_set():
            process = start_python(
                *SERVER, "collect", *server.place, *ALL, env=environment(server.env),
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            if interrupted:
                ended.wait(random.uniform(0, 0.4))
                process.send_signal(signal.SIGSTOP)
                ended.wait(0.2)
                process.send_signal(random.choice([signal.SIGKILL, signal.SIGCONT]))
            errors = process.communicate()[1]
            assert process.returncode in ((0, -signal.SIGKILL) if interrupted else (0,)), errors

    with ThreadPoolExecutor(6) as pool:
        collecting = [pool.submit(collect_on_and_on, interrupted) for interrupted in (False, True)]
        try:
            kept = [each for done in pool.map(log_and_delete, range(3)) for each in done]
        finally:
            ended.set()
        for each in collecting:
            each.result()
    stubs = server.stubs()
    assert collect(server).returncode == 0
    for version, chunks in kept:
        assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)
    checked = run_server_command("fsck", *server.place, "--read-data", "100", env=server.env)
    assert checked.returncode == 0, checked.stdout
    needed = {bytes(chunk) for _, chunks in kept for chunk in chunks}
    assert sum(packs().values()) <= 1.1 * sum(map(len, needed))
