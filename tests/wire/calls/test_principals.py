"""A caller is identified by id, not by name: what two keys of one name share, and what they do not."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from modelyard.v1 import model_artifact_pb2 as artifact_pb
from modelyard.v1 import registered_model_pb2 as registry_pb
from modelyard.v1 import run_pb2, upload_pb2
from modelyard_server.db.ids import new_id
from modelyard_server.domain.access.principals import FOLDER_OWNER, LOCAL, SERVER
from tests.clients import fast_upload
from tests.clients.watch import log
from tests.parts.server import LiveServer, Stubs, create_key, new_project, reason, run_server_command


@pytest.fixture
def server(any_keyed_server: LiveServer) -> LiveServer:
    return any_keyed_server


def two_teams(server: LiveServer, name: str = "ci") -> tuple[Stubs, Stubs, str, str]:
    """Stubs with keys of one name in two new entities, and these."""
    ours, theirs = new_project(), new_project()
    return (
        server.stubs(create_key(server, name, "--entity", ours)),
        server.stubs(create_key(server, name, "--entity", theirs)),
        ours,
        theirs,
    )


def make_run(stubs: Stubs, request_id: str, **fields: str) -> run_pb2.Run:
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(project="p", **fields), request_id=request_id)
    made: run_pb2.Run = stubs.runs.CreateRun(request).run
    return made


def test_a_key_of_the_same_name_in_another_entity_gets_no_stored_reply(server: LiveServer) -> None:
    ours, theirs, our_entity, their_entity = two_teams(server)
    first, second = make_run(ours, "nightly"), make_run(theirs, "nightly")
    assert (first.entity, second.entity) == (our_entity, their_entity)
    assert first.id != second.id


def test_a_request_id_that_another_team_used_too_loses_no_write(server: LiveServer) -> None:
    ours, theirs, *_ = two_teams(server)
    make_run(ours, "shared", display_name="ours")
    assert make_run(theirs, "shared", display_name="theirs").display_name == "theirs"


def test_an_upload_is_closed_to_a_key_of_the_same_name_in_another_entity(
    server: LiveServer,
) -> None:
    ours, theirs, *_ = two_teams(server)
    chunks = fast_upload.random_chunks(2)
    upload_id = fast_upload.create(ours, project="p")
    fast_upload.send(ours, upload_id, chunks)
    header = artifact_pb.VersionHeader(project="p", name="m", type="model")
    entries = [fast_upload.entry("w", chunks)]
    for attack in (
        lambda: fast_upload.find_missing(theirs, upload_id, chunks),
        lambda: fast_upload.send(theirs, upload_id, chunks),
        lambda: fast_upload.commit(theirs, upload_id, header, entries),
    ):
        with pytest.raises(grpc.RpcError) as refusal:
            attack()
        assert reason(refusal) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_EXPIRED")
    theirs.uploads.DeleteUpload(upload_pb2.DeleteUploadRequest(upload_id=upload_id))
    assert fast_upload.commit(ours, upload_id, header, entries).created
    assert fast_upload.find_missing(theirs, fast_upload.create(theirs, project="p"), chunks) == [0, 1]


def test_a_rotated_key_goes_on_with_the_uploads_and_replies_of_the_old_one(
    server: LiveServer,
) -> None:
    entity = new_project()
    old, new = (server.stubs(create_key(server, "ci", "--entity", entity)) for _ in range(2))
    assert make_run(old, "once").id == make_run(new, "once").id
    upload_id = fast_upload.create(old, project="p")
    assert fast_upload.find_missing(new, upload_id, fast_upload.random_chunks(1)) == [0]


def test_a_narrower_key_of_the_same_principal_gets_nothing_of_other_entities(
    server: LiveServer,
) -> None:
    own, other = new_project(), new_project()
    wide = server.stubs(create_key(server, "ops", "--entity", own, "--all-entities"))
    narrow = server.stubs(create_key(server, "ops", "--entity", own))
    make_run(wide, "elsewhere", entity=other)
    with pytest.raises(grpc.RpcError) as replay:
        make_run(narrow, "elsewhere", entity=other)
    assert reason(replay) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    upload_id = fast_upload.create(wide, entity=other, project="p")
    with pytest.raises(grpc.RpcError) as probe:
        fast_upload.find_missing(narrow, upload_id, fast_upload.random_chunks(1))
    assert reason(probe) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_EXPIRED")
    assert make_run(wide, "at home").id == make_run(narrow, "at home").id


def test_a_repeated_request_shows_a_narrower_key_no_links_in_other_entities(server: LiveServer) -> None:
    own, other = new_project(), new_project()
    wide = server.stubs(create_key(server, "ops", "--entity", own, "--all-entities"))
    narrow = server.stubs(create_key(server, "ops", "--entity", own))
    log(wide, "p")
    link = registry_pb.LinkModelArtifactVersionRequest(
        ref="p/bert", target_ref=f"{other}/model-registry/Churn", aliases=["staging"]
    )
    wide.registry.LinkModelArtifactVersion(link)
    use = artifact_pb.UseModelArtifactVersionRequest(
        ref="p/bert", run_id=make_run(wide, "user").id, request_id="use"
    )
    shown = wide.artifacts.UseModelArtifactVersion(use).version.linked_to
    assert [other in linked.ref for linked in shown] == [True]
    with pytest.raises(grpc.RpcError) as replay:
        narrow.artifacts.UseModelArtifactVersion(use)
    assert reason(replay) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    use.request_id = "again"
    assert not narrow.artifacts.UseModelArtifactVersion(use).version.linked_to


def test_a_key_named_local_is_neither_the_keyless_caller_nor_the_folders_owner(tmp_path: Path) -> None:
    live = LiveServer(tmp_path)
    try:
        live.start()
        uploads_of = {token: fast_upload.create(live.stubs(token), project="p") for token in ("", live.token)}
        named_local = live.stubs(create_key(live, "local", "--all-entities"))
        for upload_id in uploads_of.values():
            with pytest.raises(grpc.RpcError) as refusal:
                fast_upload.find_missing(named_local, upload_id, fast_upload.random_chunks(1))
            assert reason(refusal) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_EXPIRED")
    finally:
        live.close()


def test_the_list_of_keys_tells_principals_of_one_name_apart(server: LiveServer) -> None:
    ours = new_project()
    for entity in (ours, ours, new_project()):
        create_key(server, f"ls-{ours}", "--entity", entity)
    done = run_server_command("key", "ls", *server.place, env=server.env)
    words = [line.split() for line in done.stdout.splitlines() if f"ls-{ours}" in line]
    ids = [line[line.index("principal") + 1] for line in words]
    assert ids[0] == ids[1] != ids[2]


def test_no_key_can_have_the_id_of_a_caller_without_one() -> None:
    fixed = {LOCAL.id, FOLDER_OWNER.id, SERVER.id}
    assert len(fixed) == 3
    # Made ids are UUIDv7: their version digit is 7, that of the fixed ones 0.
    assert {id_[14] for id_ in fixed} == {"0"}
    assert new_id()[14] == "7"
