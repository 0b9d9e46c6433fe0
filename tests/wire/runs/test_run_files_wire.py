"""Files of runs over the wire, on both databases and stores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from modelyard.v1 import run_file_pb2 as pb
from modelyard.v1 import run_pb2
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.parts.server import Factory, LiveServer, Stubs, new_project


@pytest.fixture
def stubs(any_live_server: LiveServer) -> Stubs:
    return any_live_server.stubs()


def make(stubs: Stubs, resume: Any = run_pb2.RESUME_POLICY_NEVER, **run: Any) -> run_pb2.Run:
    run.setdefault("project", new_project())
    request = run_pb2.CreateRunRequest(run=run_pb2.Run(**run), resume=resume)
    made: run_pb2.Run = stubs.runs.CreateRun(request).run
    return made


def upload(
    stubs: Stubs, run: run_pb2.Run, path: str, data: bytes, *, request_id: str = "", **header: Any
) -> pb.RunFile:
    """Sends one file in the simple way."""

    def messages() -> Iterator[pb.UploadRunFileRequest]:
        given = pb.RunFileHeader(run_id=run.id, path=path, **header)
        yield pb.UploadRunFileRequest(header=given, request_id=request_id)
        for start in range(0, len(data), 1 << 20):
            yield pb.UploadRunFileRequest(data=data[start : start + (1 << 20)])

    sent: pb.RunFile = stubs.run_files.UploadRunFile(messages(), timeout=60).file
    return sent


def sent_chunks(stubs: Stubs, run: run_pb2.Run, chunks: Sequence[bytes]) -> tuple[str, int]:
    """An upload that holds the chunks, and how many of them had to be sent."""
    upload_id = fast_upload.create(stubs, project=run.project, entity=run.entity)
    missing = fast_upload.find_missing(stubs, upload_id, chunks)
    if missing:
        fast_upload.send(stubs, upload_id, [chunks[index] for index in missing])
    return upload_id, len(missing)


def commit(
    stubs: Stubs, run: run_pb2.Run, upload_id: str, files: Mapping[str, Sequence[bytes]], **more: Any
) -> int:
    """Adds files; returns how many the run has."""
    entries = [fast_upload.entry(path, chunks) for path, chunks in files.items()]
    request = pb.CommitRunFilesRequest(run_id=run.id, upload_id=upload_id, entries=entries, **more)
    return int(stubs.run_files.CommitRunFiles(request).file_count)


def listed(stubs: Stubs, run: run_pb2.Run, **request: Any) -> list[pb.RunFile]:
    found: list[pb.RunFile] = []
    token = ""
    while True:
        asked = pb.ListRunFilesRequest(run_id=run.id, page_token=token, **request)
        reply = stubs.run_files.ListRunFiles(asked)
        found += reply.files
        token = reply.next_page_token
        if not token:
            return found


def read(stubs: Stubs, run: run_pb2.Run, path: str, **part: Any) -> bytes:
    request = pb.DownloadRunFileRequest(run_id=run.id, path=path, **part)
    first, *others = stubs.run_files.DownloadRunFile(request, timeout=60)
    assert first.file.path == path
    return b"".join(message.data for message in (first, *others))


def delete(stubs: Stubs, run: run_pb2.Run, *paths: str) -> int:
    request = pb.DeleteRunFilesRequest(run_id=run.id, paths=paths)
    return int(stubs.run_files.DeleteRunFiles(request).deleted_count)


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_file_that_was_sent_in_the_simple_way_is_read_back(stubs: Stubs, size: int) -> None:
    run, data = make(stubs), os.urandom(size)
    sha256 = hashlib.sha256(data).hexdigest()
    file = upload(stubs, run, "media/images/ü 1.png", data, sha256=sha256)
    assert (file.path, file.size_bytes, file.sha256) == ("media/images/ü 1.png", size, sha256)
    assert file.digest == fast_upload.file_digest(fast_upload.cut(data) if data else [])
    assert (file.media_type, file.HasField("update_time")) == ("image/png", True)
    assert listed(stubs, run) == [file]
    assert read(stubs, run, file.path) == data


def test_files_of_chunks_are_added_together_and_read_whole_or_in_part(stubs: Stubs) -> None:
    run = make(stubs)
    chunks = fast_upload.random_chunks(3)
    upload_id, count = sent_chunks(stubs, run, chunks)
    assert count == 3
    types = {"a/b": "text/x-own"}
    assert commit(stubs, run, upload_id, {"a/b": chunks, "c.json": chunks[:1]}, media_types=types) == 2
    assert commit(stubs, run, upload_id, {"d": chunks[1:]}) == 3  # the upload is still open
    data = b"".join(chunks)
    assert read(stubs, run, "a/b") == data
    assert read(stubs, run, "a/b", offset=299_999, length=2) == data[299_999:300_001]
    assert read(stubs, run, "a/b", offset=len(data)) == b""
    assert [(file.path, file.media_type) for file in listed(stubs, run)] == [
        ("a/b", "text/x-own"), ("c.json", "application/json"), ("d", ""),
    ]  # fmt: skip


def test_a_file_of_the_same_path_is_replaced(stubs: Stubs) -> None:
    run = make(stubs)
    upload(stubs, run, "x.txt", b"one")
    upload(stubs, run, "x.txt", b"two", media_type="text/markdown")
    assert read(stubs, run, "x.txt") == b"two"
    assert [file.media_type for file in listed(stubs, run)] == ["text/markdown"]
    chunks = fast_upload.random_chunks(1)
    upload_id, _ = sent_chunks(stubs, run, chunks)
    assert commit(stubs, run, upload_id, {"x.txt": chunks}) == 1
    assert read(stubs, run, "x.txt") == chunks[0]


def test_equal_content_is_stored_once_in_an_entity(stubs: Stubs) -> None:
    first, second = make(stubs), make(stubs)
    data = os.urandom(3_000_000)
    chunks = fast_upload.cut(data)
    fast_upload.log(stubs, first.project, "bert", {"w": chunks})
    _, count = sent_chunks(stubs, first, chunks)
    assert count == 0
    digests = {upload(stubs, run, path, data).digest for run in (first, second) for path in "ab"}
    assert digests == {fast_upload.file_digest(chunks)}
    other = os.urandom(2_000_000)
    upload(stubs, second, "new", other)
    _, count = sent_chunks(stubs, first, fast_upload.cut(other))
    assert count == 0


def test_files_are_listed_by_path_in_pages(stubs: Stubs) -> None:
    run = make(stubs)
    chunks = fast_upload.random_chunks(1, 10)
    upload_id, _ = sent_chunks(stubs, run, chunks)
    paths = [f"logs/{number}" for number in range(250)] + ["log", "logs2", "ä/ß"]
    assert commit(stubs, run, upload_id, dict.fromkeys(paths, chunks)) == 253
    assert [file.path for file in listed(stubs, run)] == sorted(paths, key=str.encode)
    below = sorted(path for path in paths if path.startswith("logs/2"))
    assert [file.path for file in listed(stubs, run, path_prefix="logs/2", page_size=7)] == below
    assert listed(stubs, run, path_prefix="nothing") == []


def test_deleted_files_are_gone_and_the_others_stay(stubs: Stubs) -> None:
    run = make(stubs)
    for path in "abc":
        upload(stubs, run, path, path.encode())
    assert delete(stubs, run, "a", "c", "no such", "a") == 2
    assert [file.path for file in listed(stubs, run)] == ["b"]
    with refused("NOT_FOUND"):
        read(stubs, run, "a")
    assert read(stubs, run, "b") == b"b"
    upload(stubs, run, "a", b"again")
    assert read(stubs, run, "a") == b"again"


def test_each_attempt_has_its_own_files(stubs: Stubs) -> None:
    run = make(stubs, name="r")
    upload(stubs, run, "x", b"first")
    make(stubs, run_pb2.RESUME_POLICY_NEW_ATTEMPT, project=run.project, name="r")
    assert listed(stubs, run) == []
    upload(stubs, run, "x", b"second")
    upload(stubs, run, "y", b"late", attempt=1)
    assert read(stubs, run, "x") == b"second"
    assert [read(stubs, run, path, attempt=1) for path in "xy"] == [b"first", b"late"]
    with refused("NOT_FOUND"):
        listed(stubs, run, attempt=3)


def test_a_finished_run_takes_files_and_a_deleted_one_has_none(stubs: Stubs) -> None:
    run = make(stubs)
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=run.id))
    upload(stubs, run, "x", b"x")
    stubs.runs.DeleteRun(run_pb2.DeleteRunRequest(id=run.id))
    for call in (
        lambda: listed(stubs, run),
        lambda: read(stubs, run, "x"),
        lambda: upload(stubs, run, "x", b"x"),
        lambda: delete(stubs, run, "x"),
    ):
        with refused("NOT_FOUND"):
            call()


def test_a_repeated_request_has_the_first_reply(stubs: Stubs) -> None:
    run = make(stubs)
    first = upload(stubs, run, "x", b"data", request_id="r1")
    upload(stubs, run, "x", b"other")
    assert upload(stubs, run, "x", b"data", request_id="r1") == first
    assert read(stubs, run, "x") == b"other"
    with refused("REQUEST_ID_REUSED"):
        upload(stubs, run, "x", b"more", request_id="r1")


def test_files_sent_at_once_are_all_there(stubs: Stubs) -> None:
    run = make(stubs)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: upload(stubs, run, str(n % 8), b"same" * (n % 4)), range(32)))
    assert [file.path for file in listed(stubs, run)] == [str(number) for number in range(8)]
    assert [read(stubs, run, str(number)) for number in range(8)] == [b"same" * (n % 4) for n in range(8)]


def test_many_files_are_read_in_one_call(stubs: Stubs) -> None:
    run = make(stubs)
    contents = {f"{number:03}": os.urandom(number) for number in range(300)} | {"big": os.urandom(2_500_000)}
    chunks = {path: fast_upload.cut(data) if data else [] for path, data in contents.items()}
    upload_id, _ = sent_chunks(stubs, run, [chunk for cut in chunks.values() for chunk in cut])
    commit(stubs, run, upload_id, chunks)
    order = sorted(contents, reverse=True)
    request = pb.DownloadRunFilesRequest(run_id=run.id, paths=order)
    first, *others = stubs.run_files.DownloadRunFiles(request, timeout=60)
    assert [file.path for file in first.files] == order
    assert {file.path: file for file in first.files} == {file.path: file for file in listed(stubs, run)}
    data = b"".join(message.data for message in (first, *others))
    assert data == b"".join(contents[path] for path in order)
    make(stubs, run_pb2.RESUME_POLICY_NEW_ATTEMPT, project=run.project, name=run.name)
    upload(stubs, run, "001", b"x")
    request = pb.DownloadRunFilesRequest(run_id=run.id, paths=["001"], attempt=1)
    (_, earlier) = stubs.run_files.DownloadRunFiles(request)
    assert earlier.data == contents["001"]


def test_of_many_files_those_are_read_that_there_are(stubs: Stubs) -> None:
    run = make(stubs)
    for path in "ab":
        upload(stubs, run, path, path.encode())
    request = pb.DownloadRunFilesRequest(run_id=run.id, paths=["b", "no such", "a"])
    first, *others = stubs.run_files.DownloadRunFiles(request)
    assert [file.path for file in first.files] == ["b", "a"]
    assert b"".join(message.data for message in others) == b"ba"
    (nothing,) = stubs.run_files.DownloadRunFiles(pb.DownloadRunFilesRequest(run_id=run.id, paths=["c"]))
    assert list(nothing.files) == []
    for paths, reason, fields in (
        ([], "INVALID_FIELD", ["paths"]),
        (["a"] * 1_001, "INVALID_FIELD", ["paths"]),
        (["a", "b", "a"], "INVALID_FIELD", ["paths"]),
        (["a", "../x"], "INVALID_FIELD", ["paths[1]"]),
    ):
        with refused(reason, *fields):
            list(stubs.run_files.DownloadRunFiles(pb.DownloadRunFilesRequest(run_id=run.id, paths=paths)))


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/./b", "a\nb", "x" * 1_025, "/".join("a" * 33)])
def test_wrong_paths_are_refused(stubs: Stubs, path: str) -> None:
    run = make(stubs)
    with refused("INVALID_FIELD"):
        upload(stubs, run, path, b"x")
    chunks = fast_upload.random_chunks(1, 10)
    upload_id, _ = sent_chunks(stubs, run, chunks)
    with refused("INVALID_FIELD", "entries[0].path"):
        commit(stubs, run, upload_id, {path: chunks})
    with refused("INVALID_FIELD", "paths[0]"):
        delete(stubs, run, path)
    assert listed(stubs, run) == []


def test_wrong_commits_are_refused_and_add_nothing(stubs: Stubs) -> None:
    run, other = make(stubs), make(stubs)
    chunks = fast_upload.random_chunks(2, 1_000)
    upload_id, _ = sent_chunks(stubs, run, chunks)
    elsewhere, _ = sent_chunks(stubs, other, chunks)
    with refused("CHUNKS_MISSING"):
        commit(stubs, run, upload_id, {"a": chunks, "b": [b"never sent"]})
    with refused("UPLOAD_EXPIRED"):
        commit(stubs, run, run.id, {"a": chunks})
    with refused("INVALID_FIELD", "upload_id"):
        commit(stubs, run, elsewhere, {"a": chunks})
    with refused("INVALID_FIELD", "entries"):
        commit(stubs, run, upload_id, {})
    with refused("INVALID_FIELD", "entries.path"):
        commit(stubs, run, upload_id, {"a": chunks, "a/b": chunks})
    with refused("INVALID_FIELD", "media_types"):
        commit(stubs, run, upload_id, {"a": chunks}, media_types={"b": "text/plain"})
    with refused("INVALID_FIELD", "media_types[a]"):
        commit(stubs, run, upload_id, {"a": chunks}, media_types={"a": "x" * 129})
    for change, field in (
        ({"reference_uri": "s3://x/y"}, "entries[0].reference_uri"),
        ({"size_bytes": 5}, "entries.size_bytes"),
        ({"digest": "0" * 64}, "entries.digest"),
    ):
        entry = fast_upload.entry("a", chunks)
        for name, value in change.items():
            setattr(entry, name, value)
        with refused("INVALID_FIELD", field):
            stubs.run_files.CommitRunFiles(
                pb.CommitRunFilesRequest(run_id=run.id, upload_id=upload_id, entries=[entry])
            )
    with refused("DIGEST_MISMATCH"):
        upload(stubs, run, "x", b"data", sha256="0" * 64)
    with refused("INVALID_FIELD", "header.sha256"):
        upload(stubs, run, "x", b"data", sha256="0")
    assert listed(stubs, run) == []


def test_wrong_ranges_and_streams_are_refused(stubs: Stubs) -> None:
    run = make(stubs)
    upload(stubs, run, "x", b"data")
    with refused("INVALID_FIELD", "offset"):
        read(stubs, run, "x", offset=5)
    with refused("INVALID_FIELD", "length"):
        read(stubs, run, "x", length=-1)
    with refused("INVALID_FIELD", "header"):
        stubs.run_files.UploadRunFile(iter([pb.UploadRunFileRequest(data=b"x")]))
    header = pb.UploadRunFileRequest(header=pb.RunFileHeader(run_id=run.id, path="y"))
    with refused("INVALID_FIELD", "header"):
        stubs.run_files.UploadRunFile(iter([header, header]))
    with refused("INVALID_FIELD", "header"):
        stubs.run_files.UploadRunFile(iter([]))
    assert [file.path for file in listed(stubs, run)] == ["x"]


def test_what_was_acknowledged_is_there_after_a_kill(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    run, data = make(server.stubs()), os.urandom(4_000_000)
    kept = upload(server.stubs(), run, "kept", data)
    server.kill()
    server.start()
    assert listed(server.stubs(), run) == [kept]
    assert read(server.stubs(), run, "kept") == data
    # An upload that a kill breaks adds nothing, and goes through when it is sent again.
    broken = os.urandom(4_000_000)

    def messages() -> Iterator[pb.UploadRunFileRequest]:
        yield pb.UploadRunFileRequest(header=pb.RunFileHeader(run_id=run.id, path="broken"))
        yield pb.UploadRunFileRequest(data=broken[:2_000_000])
        server.kill()
        yield pb.UploadRunFileRequest(data=broken[2_000_000:])

    with pytest.raises(grpc.RpcError):
        server.stubs().run_files.UploadRunFile(messages(), timeout=60)
    server.wait()
    server.start()
    assert listed(server.stubs(), run) == [kept]
    upload(server.stubs(), run, "broken", broken)
    assert read(server.stubs(), run, "broken") == broken


def test_a_path_is_a_file_or_a_folder_never_both(stubs: Stubs) -> None:
    run, other = make(stubs), make(stubs)
    for path in ("a/b", "c", "c-d", "c0", "d/e/f"):
        upload(stubs, run, path, b"x")
    upload_id, _ = sent_chunks(stubs, run, [b"y"])
    for path, folder in (("a", "a"), ("c/d", "c"), ("c/d/e", "c"), ("d/e", "d/e"), ("d/e/f/g", "d/e/f")):
        with refused("INVALID_FIELD", "header.path") as refusal:
            upload(stubs, run, path, b"x")
        assert f"'{folder}' would be both" in refusal.message
        with refused("INVALID_FIELD", "entries.path"):
            commit(stubs, run, upload_id, {"fine": [b"y"], path: [b"y"]})
    assert commit(stubs, run, upload_id, {"a/b": [b"y"], "a/c": [b"y"], "c": [b"y"], "c.e": [b"y"]}) == 7
    upload(stubs, other, "a", b"x")  # another run has names of its own
    delete(stubs, run, "c")
    upload(stubs, run, "c/d", b"x")
    assert [file.path for file in listed(stubs, run)] == ["a/b", "a/c", "c-d", "c.e", "c/d", "c0", "d/e/f"]


def test_of_two_clashing_paths_at_once_one_is_kept(stubs: Stubs) -> None:
    run = make(stubs)

    def send(path: str) -> bool:
        try:
            upload(stubs, run, path, b"x")
        except grpc.RpcError as failure:
            assert failure.code() is grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017  # others may succeed
            return False
        return True

    for number in range(5):
        with ThreadPoolExecutor(2) as pool:
            kept = list(pool.map(send, (f"{number}/a", f"{number}/a/b")))
        assert sorted(kept) == [False, True]
