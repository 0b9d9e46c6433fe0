"""The contract of pack stores on a folder, on two S3 servers, and on each behind the fault wrapper."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from modelyard import errors
from modelyard_server.packs import PackMissing, PackStore, store_from_url
from modelyard_server.packs.store import PackExists
from tests.contracts.pack_store import MIB, PackStoreContract, ThroughFaults, new_key, put
from tests.parts.fork_server import start_python
from tests.parts.processes import free_port
from tests.parts.s3 import S3Server
from tests.parts.tcp_proxy import TcpProxy


class OnDisk:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path / 'store'}"

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> list[PackStore]:
        """A folder that was unmounted: empty, or not there at all."""
        gone, emptied = store_from_url(str(tmp_path / "gone")), store_from_url(str(tmp_path / "emptied"))
        shutil.rmtree(tmp_path / "gone")
        shutil.rmtree(tmp_path / "emptied")
        (tmp_path / "emptied").mkdir()
        return [gone, emptied]


class OnS3:
    @pytest.fixture
    def url(self, server: S3Server) -> str:
        return server.url(server.new_bucket())

    @pytest.fixture
    def unreachable(self, server: S3Server) -> list[PackStore]:
        """A server that is down, and a bucket that does not exist."""
        down = S3Server(f"http://127.0.0.1:{free_port()}")
        return [store_from_url(down.url("bucket")), store_from_url(server.url("no-such-bucket"))]


class OnMinio(OnS3):
    @pytest.fixture
    def server(self, minio_server: S3Server) -> S3Server:
        return minio_server


class OnVersity(OnS3):
    @pytest.fixture
    def server(self, versity_server: S3Server) -> S3Server:
        return versity_server


class TestDisk(OnDisk, PackStoreContract):
    def test_a_key_is_written_once(self, store: PackStore) -> None:
        key = new_key()
        put(store, key, b"first")
        with pytest.raises(PackExists):
            put(store, key, b"other")
        assert store.read(key, 0, 5) == b"first"

    def test_free_bytes_are_the_file_systems(self, store: PackStore, tmp_path: Path) -> None:
        free = store.free_bytes()
        assert free is not None
        assert abs(free - shutil.disk_usage(tmp_path).free) < 1 << 30

    @pytest.mark.parametrize(
        ("failpoint", "is_visible"),
        [("disk.before_fsync", False), ("disk.before_rename", False), ("disk.after_rename", True)],
    )
    def test_a_pack_of_a_killed_process_is_whole_or_absent(
        self, store: PackStore, tmp_path: Path, failpoint: str, is_visible: bool
    ) -> None:
        key, data = new_key(), random.randbytes(MIB)
        killed = put_in_another_process(tmp_path / "store", key, data, failpoint)
        assert killed == -signal.SIGKILL
        if is_visible:
            assert store.read(key, 0, MIB) == data
        else:
            with pytest.raises(PackMissing):
                store.stat(key)
        assert store.clean() == (0 if is_visible else 1)
        assert os.listdir(tmp_path / "store" / "tmp") == []

    def test_a_full_disk_is_told_and_leaves_nothing(self, tmp_path: Path) -> None:
        mounted = tmp_path / "small"
        mounted.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            pytest.skip("a small file system cannot be mounted here")
        try:
            store, kept = store_from_url(str(mounted)), new_key()
            put(store, kept, b"before")
            with pytest.raises(errors.DiskFull):
                put(store, new_key(), random.randbytes(2 * MIB))
            put(store, new_key(), random.randbytes(500_000))
            assert store.read(kept, 0, 6) == b"before"
            assert os.listdir(mounted / "tmp") == []
        finally:
            subprocess.run(["umount", str(mounted)], check=True)


class TestDiskThroughFaults(OnDisk, ThroughFaults):
    pass


class TestMinio(OnMinio, PackStoreContract):
    def test_a_prefix_keeps_stores_in_one_bucket_apart(self, server: S3Server) -> None:
        bucket = server.new_bucket()
        one, two = store_from_url(server.url(bucket, "one")), store_from_url(server.url(bucket, "two/deep"))
        key = new_key()
        put(one, key, b"one")
        assert one.claim("id-one") == "id-one"
        assert two.store_id() is None
        assert list(two.list()) == []
        with pytest.raises(PackMissing):
            two.read(key, 0, 1)
        assert [found.key for found in one.list()] == [key]

    def test_a_connection_that_is_cut_while_a_range_is_read_is_replaced(self, server: S3Server) -> None:
        bucket, key, whole = server.new_bucket(), new_key(), random.randbytes(32 * MIB)
        with TcpProxy(int(server.endpoint.rpartition(":")[2])) as proxy:
            store = store_from_url(S3Server(f"http://{proxy.address}").url(bucket))
            put(store, key, whole)
            before, proxy.cut_in_reply = proxy.accepted, 2 * MIB
            reader = store.open_range(key, 0, len(whole))
            begin = reader.read(MIB)
            assert begin + reader.read(31 * MIB) == whole
            assert proxy.accepted > before
            reader.close()

    def test_wrong_credentials_are_an_error(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(errors.StoreUnavailable, match="SignatureDoesNotMatch"):
            store_from_url(url).read(new_key(), 0, 1)


class TestMinioThroughFaults(OnMinio, ThroughFaults):
    pass


class TestVersity(OnVersity, PackStoreContract):
    pass


class TestVersityThroughFaults(OnVersity, ThroughFaults):
    pass


PUT = """
import os, sys
from pathlib import Path
from modelyard_server import failpoints
from modelyard_server.packs import store_from_url
failpoints.arm_from(os.environ)
pack = store_from_url(sys.argv[1]).open()
pack.append(sys.stdin.buffer.read())
pack.put(sys.argv[2])
"""


def put_in_another_process(folder: Path, key: str, data: bytes, failpoint: str) -> int:
    environment = os.environ | {"MODELYARD_FAILPOINTS": f"{failpoint}=kill"}
    process = start_python("-c", PUT, str(folder), key, env=environment, stdin=subprocess.PIPE)
    process.communicate(data, 60)
    return int(process.returncode)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://host/x",
        "file://host/x",
        "s3://",
        "s3://bucket?endpoint=localhost:9000",
        "s3://bucket?part=1",
        "s3://key:secret@bucket",
        "s3://b",
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # each has its own sentence; that it is one is what counts
        store_from_url(url)
