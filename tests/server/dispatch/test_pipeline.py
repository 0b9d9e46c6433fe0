"""The server's work without a transport: what a second adapter can rely on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from modelyard.contract import errors
from modelyard.v1 import event_pb2, model_artifact_pb2, registered_model_pb2, run_pb2, upload_pb2
from modelyard_server import failpoints
from modelyard_server.rpc.dispatch import methods
from modelyard_server.rpc.services import registration
from tests.clients import fast_upload
from tests.inprocess.pipeline import InProcess, Replies, in_process

ENTITY = "acme"
RUNS, ARTIFACTS = "RunService", "ModelArtifactService"
WATCH, COMMIT = "EventService/WatchEvents", "ModelArtifactService/CommitModelArtifact"


def run(folder: Path, scenario: Callable[[InProcess], Awaitable[None]], **options: float) -> None:
    """Runs a scenario with a server in a new folder."""

    async def main() -> None:
        async with in_process(folder, **options) as server:
            await scenario(server)

    asyncio.run(main())


@pytest.fixture(autouse=True)
def disarm() -> Iterator[None]:
    yield
    failpoints.arm("")


def create_run(project: str = "p", request_id: str = "") -> run_pb2.CreateRunRequest:
    return run_pb2.CreateRunRequest(run=run_pb2.Run(entity=ENTITY, project=project), request_id=request_id)


def header(name: str = "bert", **fields: str) -> model_artifact_pb2.VersionHeader:
    return model_artifact_pb2.VersionHeader(entity=ENTITY, project="p", name=name, type="model", **fields)


def simple_upload(
    data: bytes, request_id: str = "", **fields: str
) -> Iterator[model_artifact_pb2.UploadModelArtifactRequest]:
    yield model_artifact_pb2.UploadModelArtifactRequest(
        header=header(**fields), path="weights", data=data, request_id=request_id
    )


async def upload_chunks(server: InProcess, chunks: list[bytes]) -> str:
    """Uploads chunks that the server does not have; the upload's id."""
    request = upload_pb2.CreateUploadRequest(entity=ENTITY, project="p")
    upload_id: str = (await server.call("UploadService/CreateUpload", request)).upload_id
    question = upload_pb2.FindMissingChunksRequest(
        upload_id=upload_id, chunks=[fast_upload.message_chunk(chunk) for chunk in chunks]
    )
    answer = await server.call("UploadService/FindMissingChunks", question)
    assert list(answer.missing) == list(range(len(chunks)))
    messages = [
        upload_pb2.UploadChunksRequest(
            upload_id="" if index else upload_id, chunks=[fast_upload.message_chunk(data)], data=data
        )
        for index, data in enumerate(chunks)
    ]
    replies = await server.replies("UploadService/UploadChunks", messages)
    assert replies[-1].durable_chunks == len(chunks)
    return upload_id


def test_the_main_job_from_a_run_to_the_bytes_of_a_registered_model(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        made = (await server.call("RunService/CreateRun", create_run())).run
        chunks = fast_upload.random_chunks(3)
        upload_id = await upload_chunks(server, chunks)
        commit = model_artifact_pb2.CommitModelArtifactRequest(
            upload_id=upload_id,
            header=header(run_id=made.id),
            entries=[fast_upload.entry("weights", chunks)],
        )
        version = (await server.collect(COMMIT, [commit])).version
        assert (version.number, version.producer_run_id) == (0, made.id)
        link = registered_model_pb2.LinkModelArtifactVersionRequest(
            id=version.id, target_ref=f"{ENTITY}/model/BERT", aliases=["production"]
        )
        await server.call("RegisteredModelService/LinkModelArtifactVersion", link)
        ref = f"{ENTITY}/model/BERT:production"
        look_up = model_artifact_pb2.GetModelArtifactVersionRequest(ref=ref)
        found = await server.call("ModelArtifactService/GetModelArtifactVersion", look_up)
        assert found.version.id == version.id
        download = model_artifact_pb2.DownloadFileRequest(ref=ref, path="weights")
        first, *rest = await server.replies("ModelArtifactService/DownloadFile", download)
        assert first.version_id == version.id
        assert b"".join(reply.data for reply in rest) == b"".join(chunks)

    run(tmp_path, scenario)


def test_a_simple_upload_comes_back_byte_for_byte(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        data = os.urandom(100_000)
        reply = await server.collect("ModelArtifactService/UploadModelArtifact", simple_upload(data))
        assert reply.created
        download = model_artifact_pb2.DownloadFilesRequest(
            version_id=reply.version.id, ranges=[model_artifact_pb2.FileRange(path="weights")]
        )
        replies = await server.replies("ModelArtifactService/DownloadFiles", download)
        assert b"".join(part.data for part in replies) == data

    run(tmp_path, scenario)


def test_requests_are_taken_encoded_or_decoded(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        request = create_run(request_id="one")
        encoded = await server.call("RunService/CreateRun", request.SerializeToString())
        assert await server.call("RunService/CreateRun", request) == encoded

    run(tmp_path, scenario)


def test_a_repeated_request_gets_its_first_reply_and_takes_effect_once(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        replies = await asyncio.gather(
            *(server.call("RunService/CreateRun", create_run(request_id="one")) for _ in range(5))
        )
        assert all(reply == replies[0] for reply in replies)
        listed = await server.call("RunService/ListRuns", run_pb2.ListRunsRequest(entity=ENTITY, project="p"))
        assert [one.id for one in listed.runs] == [replies[0].run.id]
        with pytest.raises(errors.RequestIdReused):
            await server.call("RunService/CreateRun", create_run(project="other", request_id="one"))
        first = await server.collect(
            "ModelArtifactService/UploadModelArtifact", simple_upload(b"a", request_id="two")
        )
        again = await server.collect(
            "ModelArtifactService/UploadModelArtifact", simple_upload(b"a", request_id="two")
        )
        assert again == first
        assert first.created

    run(tmp_path, scenario)


def test_what_fails_is_raised_as_an_error_of_the_tree_with_its_reason(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        with pytest.raises(errors.NotFound) as missing:
            await server.call("RunService/GetRun", run_pb2.GetRunRequest(ref=f"{ENTITY}/p/x"))
        assert missing.value.reason == "NOT_FOUND"
        with pytest.raises(errors.InvalidField, match="cannot be decoded"):
            await server.call("RunService/CreateRun", b"\xff")
        with pytest.raises(errors.InvalidField) as wrong:
            await server.collect(COMMIT, [model_artifact_pb2.CommitModelArtifactRequest()])
        assert [field for field, _ in wrong.value.violations] == ["header"]
        unknown = model_artifact_pb2.DownloadFileRequest(ref=f"{ENTITY}/p/bert:v0", path="weights")
        with pytest.raises(errors.NotFound):
            await server.replies("ModelArtifactService/DownloadFile", unknown)

    run(tmp_path, scenario)


def test_a_method_that_does_not_exist_is_refused_by_its_name(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        with pytest.raises(errors.Unimplemented) as unknown:
            await asyncio.create_task(server.pipeline.admit("/modelyard.v1.RunService/Fly", ()))
        assert unknown.value.metadata["method"] == "/modelyard.v1.RunService/Fly"

    run(tmp_path, scenario)


def test_an_unexpected_failure_shows_its_caller_an_incident_and_nothing_else(tmp_path: Path) -> None:
    failpoints.arm("commit.before=error")

    async def scenario(server: InProcess) -> None:
        with pytest.raises(errors.InternalError) as failure:
            await server.collect("ModelArtifactService/UploadModelArtifact", simple_upload(b"a"))
        assert failure.value.metadata["incident"] in str(failure.value)
        assert "commit.before" not in str(failure.value)

    run(tmp_path, scenario)


def test_callers_without_a_good_key_are_refused_before_their_request_is_read(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        server.of_new_key("ann", ENTITY)
        with pytest.raises(errors.KeyMissing):
            await server.call("RunService/CreateRun", b"\xff")
        with pytest.raises(errors.KeyInvalid):
            await server.of_key("my_" + "x" * 40).call("RunService/CreateRun", b"\xff")

    run(tmp_path, scenario)


def test_a_method_that_is_not_in_the_table_of_rights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(methods.METHODS, "/modelyard.v1.RunService/GetRun")

    async def scenario(server: InProcess) -> None:
        with pytest.raises(errors.NotAllowed):
            await server.call("RunService/GetRun", run_pb2.GetRunRequest(id="x"))

    run(tmp_path, scenario)


def test_entities_of_others_cannot_be_read_or_changed(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        owner, stranger = server.of_new_key("ann", ENTITY), server.of_new_key("bob", "other")
        made = (await owner.call("RunService/CreateRun", create_run(request_id="one"))).run
        for method, request in (
            ("GetRun", run_pb2.GetRunRequest(id=made.id)),
            ("DeleteRun", run_pb2.DeleteRunRequest(id=made.id)),
        ):
            with pytest.raises(errors.NotFound):
                await stranger.call(f"RunService/{method}", request)
        with pytest.raises(errors.CommError) as refusal:
            await stranger.call("RunService/CreateRun", create_run(request_id="one"))
        assert refusal.value.reason in ("NOT_ALLOWED", "NOT_FOUND")
        assert (await owner.call("RunService/GetRun", run_pb2.GetRunRequest(id=made.id))).run == made

    run(tmp_path, scenario)


async def begun_watch(server: InProcess) -> Replies:
    """A watch whose first reply has arrived."""
    watch = server.open(WATCH, event_pb2.WatchEventsRequest(entity=ENTITY, project="p"))
    await watch.next()
    return watch


def test_a_cancelled_stream_gives_back_what_it_held(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        await server.call("RunService/CreateRun", create_run())
        for _ in range(3):  # each needs the only free stream
            watch = await begun_watch(server)
            assert server.core.active_calls.count == 1
            watch.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watch.task
            assert server.core.active_calls.count == 0
        watch = await begun_watch(server)
        with pytest.raises(errors.TooManyStreams):
            await server.replies(WATCH, event_pb2.WatchEventsRequest(entity=ENTITY, project="p"))
        watch.task.cancel()

    run(tmp_path, scenario, watch_streams=1)


def test_a_stream_of_replies_ends_with_a_reason_when_the_server_stops(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        await server.call("RunService/CreateRun", create_run())
        watch = await begun_watch(server)
        server.core.active_calls.stop()
        with pytest.raises(errors.ServerStopping):
            await watch.task
        with pytest.raises(errors.ServerStopping):
            await server.call("RunService/CreateRun", create_run())

    run(tmp_path, scenario)


def test_a_commit_whose_caller_is_cancelled_takes_effect_whole(tmp_path: Path) -> None:
    failpoints.arm("commit.inside=sleep(0.5)")

    async def scenario(server: InProcess) -> None:
        request = simple_upload(b"a", request_id="one")
        upload = asyncio.create_task(server.collect("ModelArtifactService/UploadModelArtifact", request))
        while not failpoints.hits("commit.inside"):
            await asyncio.sleep(0.01)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        again = simple_upload(b"a", request_id="one")
        reply = await server.collect("ModelArtifactService/UploadModelArtifact", again)
        assert (reply.version.number, reply.created) == (0, True)

    run(tmp_path, scenario)


def test_a_deadline_around_a_call_raises_timeout_error(tmp_path: Path) -> None:
    failpoints.arm("commit.inside=sleep(0.5)")

    async def scenario(server: InProcess) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await server.collect("ModelArtifactService/UploadModelArtifact", simple_upload(b"a"))

    run(tmp_path, scenario)


async def silence(*first: upload_pb2.UploadChunksRequest) -> AsyncIterator[upload_pb2.UploadChunksRequest]:
    """The messages, and then no end."""
    for message in first:
        yield message
    await asyncio.Event().wait()


def test_a_stream_of_a_client_that_sends_or_reads_nothing_ends(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        with pytest.raises(errors.StreamStalled, match="nothing was sent"):
            await server.replies("UploadService/UploadChunks", silence())
        await server.call("RunService/CreateRun", create_run())

        async def never(_reply: bytes) -> None:
            await asyncio.Event().wait()

        async def watch() -> None:
            endpoint = server.endpoint(WATCH)
            caller = await server.pipeline.admit(endpoint.name, ())
            request = event_pb2.WatchEventsRequest(entity=ENTITY, project="p")
            await server.pipeline.stream(endpoint, caller, request, never)

        with pytest.raises(errors.StreamStalled, match="nothing was read"):
            await asyncio.create_task(watch())

    run(tmp_path, scenario, stall_seconds=0.2)


def test_every_service_of_the_contract_is_served_whole(tmp_path: Path) -> None:
    async def scenario(server: InProcess) -> None:
        served = {name.split("/")[1] for name in server.pipeline.endpoints}
        assert served == set(registration.NAMES)
        assert set(server.pipeline.endpoints) == {
            name for name, method in methods.METHODS.items() if not method.open
        }

    run(tmp_path, scenario)
