"""Lost or truncated packs: their content is uploaded again, and the versions that need it are whole."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any, Protocol

import pytest

from modelyard import errors
from modelyard.cache.content import Cache
from modelyard.transfer import transfer
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard_server.packs.confirmed import ConfirmedPacks, PackSize
from modelyard_server.packs.store import pack_key
from tests.clients import fast_upload
from tests.clients.refusals import refused
from tests.clients.transfers import Meter, connection_to, contents_of, files_in, new_version
from tests.contracts.pack_store import put
from tests.inprocess.faulty_store import FaultyStore
from tests.inprocess.pack_writer import pack_store as pack_store
from tests.parts.s3 import S3Server
from tests.parts.server import Factory, LiveServer, Stubs, new_project, production_place, run_server_command
from tests.sdk.transfer.test_chunking import MIB, stream


class StoredPacks(Protocol):
    """The packs of a server, for tests that damage them."""

    def keys(self) -> set[str]: ...
    def remove(self, key: str) -> None: ...
    def shorten(self, key: str, size: int) -> None: ...


class Folder:
    """Packs in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keys(self) -> set[str]:
        return {str(path.relative_to(self._root)) for path in self._root.glob("packs/*/*")}

    def remove(self, key: str) -> None:
        (self._root / key).unlink()

    def size(self, key: str) -> int:
        return (self._root / key).stat().st_size

    def shorten(self, key: str, size: int) -> None:
        with (self._root / key).open("r+b") as file:
            file.truncate(size)


class Bucket:
    """Packs in a bucket."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def keys(self) -> set[str]:
        found = self._client.list_objects(bucket_name=self._name, prefix="packs/", recursive=True)
        return {each.object_name for each in found}

    def remove(self, key: str) -> None:
        self._client.remove_object(bucket_name=self._name, object_name=key)

    def shorten(self, key: str, size: int) -> None:
        import io

        body = self._client.get_object(bucket_name=self._name, object_name=key, offset=0, length=size).read()
        self._client.put_object(bucket_name=self._name, object_name=key, data=io.BytesIO(body), length=size)


@pytest.fixture
def stored(any_live_server: LiveServer, request: pytest.FixtureRequest) -> StoredPacks:
    """The packs of the server, wherever they lie."""
    place = any_live_server.place
    if "--store" not in place:
        return Folder(any_live_server.data / "store")
    store: S3Server = request.getfixturevalue("minio_server")
    bucket = place[place.index("--store") + 1].removeprefix("s3://").partition("?")[0]
    return Bucket(store.client(), bucket)


def logged(
    stubs: Stubs, stored: StoredPacks, project: str, name: str, chunks: list[bytes]
) -> tuple[Any, str]:
    """A version, and the key of the one pack that holds it."""
    before = stored.keys()
    version = fast_upload.log(stubs, project, name, {"w": chunks}, type="model").version
    (key,) = stored.keys() - before
    return version, key


@pytest.mark.parametrize("other", ["model", "another-name"])
def test_content_whose_pack_is_gone_is_whole_again_when_it_is_logged_again(
    any_live_server: LiveServer, stored: StoredPacks, other: str
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(3)
    version, key = logged(stubs, stored, project, "model", chunks)
    stored.remove(key)
    again = fast_upload.log(stubs, project, other, {"w": chunks}, type="model").version
    for each in (version, again):
        assert fast_upload.read(stubs, each.id, "w") == b"".join(chunks)


def test_only_chunks_beyond_the_end_of_a_truncated_pack_are_sent_again(
    any_live_server: LiveServer, stored: StoredPacks
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(3)
    version, key = logged(stubs, stored, project, "model", chunks)
    stored.shorten(key, 2 * fast_upload.CHUNK - 1)
    upload = fast_upload.create(stubs, project=project)
    assert fast_upload.find_missing(stubs, upload, chunks) == [1, 2]
    fast_upload.log(stubs, project, "other", {"w": chunks}, type="model")
    assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)


@pytest.mark.parametrize("how", ["gone", "short"])
def test_a_download_of_lost_bytes_asks_for_an_upload_which_repairs_it(
    any_live_server: LiveServer, stored: StoredPacks, how: str
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(3)
    version, key = logged(stubs, stored, project, "model", chunks)
    fast_upload.find_missing(stubs, fast_upload.create(stubs, project=project), chunks)  # it was seen whole
    if how == "gone":
        stored.remove(key)
    else:
        stored.shorten(key, 10)
    with refused("CHUNK_CORRUPT") as refusal:
        fast_upload.read(stubs, version.id, "w")
    assert "log the same content again" in refusal.message
    assert refusal.metadata["pack"] == key
    fast_upload.log(stubs, project, "model", {"w": chunks}, type="model")
    assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)


def test_equal_content_is_not_found_while_its_pack_is_missing(
    any_live_server: LiveServer, stored: StoredPacks
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(2)
    version, key = logged(stubs, stored, project, "model", chunks)
    stored.remove(key)
    size = sum(map(len, chunks))
    entry = pb.ManifestEntry(path="w", size_bytes=size, digest=fast_upload.file_digest(chunks))

    def commit(name: str, *entries: pb.ManifestEntry) -> pb.CommitEqualContentResponse:
        header = pb.VersionHeader(project=project, name=name, digest=version.digest)
        request = pb.CommitEqualContentRequest(header=header, entries=entries, request_id=uuid.uuid4().hex)
        reply: pb.CommitEqualContentResponse = stubs.artifacts.CommitEqualContent(request)
        return reply

    with refused("CHUNKS_MISSING"):
        commit("copy", entry)
    with refused("NOT_FOUND"):
        commit("model")
    fast_upload.log(stubs, project, "third", {"w": chunks}, type="model")
    assert commit("copy", entry).created
    assert commit("model").version.id == version.id


def test_a_base_version_whose_pack_is_missing_is_refused(
    any_live_server: LiveServer, stored: StoredPacks
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(2)
    version, key = logged(stubs, stored, project, "model", chunks)
    stored.remove(key)
    header = pb.VersionHeader(project=project, name="model", base_version_id=version.id)
    empty = fast_upload.entry("new", [])
    with refused("CHUNK_CORRUPT"):
        fast_upload.commit(stubs, fast_upload.create(stubs, project=project), header, [empty])
    fast_upload.log(stubs, project, "model", {"w": chunks}, type="model")
    built = fast_upload.commit(stubs, fast_upload.create(stubs, project=project), header, [empty])
    assert fast_upload.read(stubs, built.version.id, "w") == b"".join(chunks)


def test_chunks_sent_without_a_question_replace_missing_ones(
    any_live_server: LiveServer, stored: StoredPacks
) -> None:
    stubs, project, chunks = any_live_server.stubs(), new_project(), fast_upload.random_chunks(2)
    version, key = logged(stubs, stored, project, "model", chunks)
    stored.remove(key)
    upload = fast_upload.create(stubs, project=project)
    assert fast_upload.send(stubs, upload, chunks) == 2
    assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)


@pytest.mark.parametrize("name", ["model", "another-name"])
def test_files_that_were_logged_before_are_sent_again_by_the_sdk(
    live_server_factory: Factory, tmp_path: Path, name: str
) -> None:
    server = live_server_factory().start()
    link = connection_to(server.data)
    cache = Cache(tmp_path / "cache")
    contents = {"big": stream(f"lost {name}", 3 * MIB)}
    files = files_in(tmp_path / "in", contents)
    version, _ = transfer.upload(link, new_version("model"), files, cache=cache)
    shutil.rmtree(server.data / "store" / "packs")
    (server.data / "store" / "packs").mkdir()
    again, _ = transfer.upload(link, new_version(name), files, cache=cache)
    for number, each in enumerate((version, again)):
        transfer.download(link, each, tmp_path / f"out{number}")
        assert contents_of(tmp_path / f"out{number}") == contents
    link.close()


@pytest.mark.parametrize("shares_disk", [False, True], ids=["bytes", "names"])
@pytest.mark.parametrize("cached", [False, True], ids=["read-anew", "unchanged"])
def test_only_the_lost_part_of_a_large_file_is_sent_again(
    live_server_factory: Factory, tmp_path: Path, cached: bool, shares_disk: bool
) -> None:
    server = live_server_factory().start()
    link = connection_to(server.data, shares_disk=shares_disk)
    cache = Cache(tmp_path / "cache") if cached else None
    contents = {"large": stream("lost in part", 80 * MIB)}
    files = files_in(tmp_path / "in", contents)
    version, _ = transfer.upload(link, new_version("large"), files, cache=cache)
    packs = Folder(server.data / "store")
    whole = packs.keys()
    assert len(whole) > 1
    lost = max(whole, key=packs.size)
    lost_bytes = packs.size(lost)
    packs.remove(lost)
    meter = Meter()
    again, created = transfer.upload(link, new_version("large"), files, progress=meter, cache=cache)
    assert not created
    assert again.id == version.id
    assert meter.moved == lost_bytes < meter.total
    assert sum(map(packs.size, packs.keys() - whole)) == lost_bytes
    transfer.download(link, again, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents
    link.close()


def test_known_files_in_many_packs_are_a_version_at_the_first_call_after_a_start(
    live_server_factory: Factory,
) -> None:
    server, project = live_server_factory().start(), new_project()
    entries = []
    for part in range(7):  # more packs than a call may look at one after another
        files = {f"{part}/{number}": fast_upload.random_chunks(1, 10) for number in range(500)}
        fast_upload.log(server.stubs(), project, f"part{part}", files, type="model")
        entries += [
            pb.ManifestEntry(path=path, size_bytes=10, digest=fast_upload.file_digest(chunks))
            for path, chunks in files.items()
        ]
    stubs = server.restart().stubs()
    header = pb.VersionHeader(project=project, name="all", type="model")
    request = pb.CommitEqualContentRequest(header=header, entries=entries, request_id=uuid.uuid4().hex)
    assert stubs.artifacts.CommitEqualContent(request).created


def test_a_store_that_is_not_mounted_loses_nothing(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    stubs, project, chunks = server.stubs(), new_project(), fast_upload.random_chunks(2)
    version = fast_upload.log(stubs, project, "model", {"w": chunks}, type="model").version
    upload = fast_upload.create(stubs, project=project)
    store = server.data / "store"
    store.rename(server.data / "unmounted")
    for folders in ((), ("packs", "tmp"), ("packs/1",)):  # an empty mount point, and one that somebody used
        for folder in folders:
            (store / folder).mkdir(parents=True)
        with refused("STORE_UNAVAILABLE"):
            fast_upload.find_missing(stubs, upload, chunks)
        with refused("STORE_UNAVAILABLE"):
            fast_upload.read(stubs, version.id, "w")
    shutil.rmtree(store)
    (server.data / "unmounted").rename(store)
    assert fast_upload.find_missing(stubs, upload, chunks) == []
    assert fast_upload.read(stubs, version.id, "w") == b"".join(chunks)


def test_a_store_that_refuses_loses_nothing(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    server = live_server_factory(place=place, env=env).start()
    stubs, project, chunks = server.stubs(), new_project(), fast_upload.random_chunks(2)
    fast_upload.log(stubs, project, "model", {"w": chunks}, type="model")
    server.stop()
    store: S3Server = request.getfixturevalue("minio_server")
    bucket = place[place.index("--store") + 1].removeprefix("s3://").partition("?")[0]
    server.start()
    for found in list(store.client().list_objects(bucket_name=bucket, recursive=True)):
        store.client().remove_object(bucket_name=bucket, object_name=str(found.object_name))
    store.client().remove_bucket(bucket_name=bucket)
    stubs = server.stubs()
    upload = fast_upload.create(stubs, project=project)
    with refused("STORE_UNAVAILABLE"):
        fast_upload.find_missing(stubs, upload, chunks)
    store.client().make_bucket(bucket_name=bucket)
    with refused("STORE_UNAVAILABLE"):  # a bucket of that name is there, but it is not ours
        fast_upload.find_missing(stubs, upload, chunks)
    assert "count as missing" not in server.log.read_text()


def test_each_pack_is_checked_once(pack_store: FaultyStore) -> None:
    store_id = pack_store.claim("ours")
    packs = [PackSize(str(uuid.uuid4()), 7, 4) for _ in range(3)]
    for pack in packs:
        put(pack_store, pack_key(7, pack.pack_id), b"1234")
    seen = ConfirmedPacks(pack_store, store_id, limit=3)
    assert seen.losses(packs) == []
    seen.add([pack.pack_id for pack in packs])
    seen.require([pack.pack_id for pack in packs])
    assert pack_store.calls["stat"] == 3


def test_packs_of_another_store_are_not_lost(pack_store: FaultyStore) -> None:
    pack_store.claim("another")
    with pytest.raises(errors.StoreUnavailable, match="another volume or bucket"):
        ConfirmedPacks(pack_store, "ours").losses([PackSize(str(uuid.uuid4()), 7, 4)])


def test_doctor_names_lost_packs(any_live_server: LiveServer, stored: StoredPacks) -> None:
    stubs, chunks = any_live_server.stubs(), fast_upload.random_chunks(1)
    _, key = logged(stubs, stored, new_project(), "model", chunks)
    stored.remove(key)
    done = run_server_command("doctor", *any_live_server.place, env=any_live_server.env)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if " packs: " in line)
    assert line.startswith("problem")
    assert key in line
    assert "log" in line
