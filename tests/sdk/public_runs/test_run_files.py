"""Files of a run: listed, downloaded and deleted through `Api`, on both databases."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import modelyard
from modelyard import Api, errors
from modelyard.public_runs.public_run import PublicRun
from modelyard.v1 import run_file_pb2 as pb
from tests.clients.counted_stub import CountedStub
from tests.parts.server import LiveServer
from tests.parts.tcp_proxy import TcpProxy

BIG = os.urandom(5_000_000)
FILES = {"plots/loss.png": b"\x89PNG", "config.yaml": "größe: 1\n".encode(), "big.bin": BIG, "empty": b""}


@pytest.fixture
def found(work: Path) -> PublicRun:
    """A run with files."""
    with modelyard.init(settings={"x_save_requirements": False}) as run:
        found = Api().run(run.path)
    for path, data in FILES.items():
        _upload(found, path, data)
    return found


def _upload(found: PublicRun, path: str, data: bytes) -> None:
    def parts() -> Iterator[pb.UploadRunFileRequest]:
        yield pb.UploadRunFileRequest(header=pb.RunFileHeader(run_id=found._record.id, path=path))
        for start in range(0, len(data), 1 << 20):
            yield pb.UploadRunFileRequest(data=data[start : start + (1 << 20)])

    found._workspace.connection.run_files.UploadRunFile(parts())


def test_files_are_listed_by_name_and_pattern(found: PublicRun) -> None:
    assert [file.name for file in found.files()] == sorted(FILES)
    assert len(found.files()) == 4
    assert [file.name for file in found.files(pattern="%.png")] == ["plots/loss.png"]
    assert [file.name for file in found.files(pattern="plots/%")] == ["plots/loss.png"]
    assert [file.name for file in found.files(pattern="____y")] == ["empty"]
    assert [file.name for file in found.files(["empty", "big.bin"])] == ["big.bin", "empty"]
    image = found.file("plots/loss.png")
    assert (image.size, image.mimetype) == (4, "image/png")
    with pytest.raises(errors.NotFound, match="no file 'plots'"):
        found.file("plots")
    with pytest.raises(ValueError, match="not both"):
        found.files(["a"], pattern="b")


def test_a_file_is_downloaded_into_its_folder(found: PublicRun, work: Path) -> None:
    with found.file("config.yaml").download() as file:
        assert file.read() == "größe: 1\n"
    for path, data in FILES.items():
        found.file(path).download(root="there").close()
        assert (work / "there" / path).read_bytes() == data
    with pytest.raises(ValueError, match="replace=True"):
        found.file("config.yaml").download()
    (work / "config.yaml").write_text("mine")
    with found.file("config.yaml").download(exist_ok=True) as file:
        assert file.read() == "mine"
    with found.file("config.yaml").download(replace=True) as file:
        assert file.read() == "größe: 1\n"
    found.file("config.yaml").delete()
    assert [file.name for file in found.files(pattern="config%")] == []


def test_a_file_is_uploaded_by_its_path_from_the_root(found: PublicRun, work: Path, tmp_path: Path) -> None:
    (work / "out").mkdir()
    (work / "out/report.txt").write_text("first")
    (work / "out/model.bin").write_bytes(BIG)
    assert found.upload_file("out/report.txt").name == "out/report.txt"
    (work / "out/report.txt").write_text("second")
    assert found.upload_file(work / "out/report.txt").size == len("second")
    assert found.upload_file("out/model.bin", root="out").name == "model.bin"
    assert b"".join(found.file("model.bin")._data()) == BIG
    assert [file.name for file in found.files(pattern="out/%")] == ["out/report.txt"]
    (tmp_path / "elsewhere").write_text("x")
    with pytest.raises(ValueError, match="not in the folder"):
        found.upload_file(tmp_path / "elsewhere", root=work / "out")
    for wrong in ("missing", "out"):
        with pytest.raises(errors.LocalFileError, match="no file that can be read"):
            found.upload_file(wrong)


@pytest.mark.parametrize("replacement", [b"replaced", BIG], ids=["small", "large"])
def test_small_files_that_are_downloaded_in_a_row_arrive_together(
    found: PublicRun, work: Path, monkeypatch: pytest.MonkeyPatch, replacement: bytes
) -> None:
    contents = {f"small/{number:02}": b"%d" % number * number for number in range(40)}
    for path, data in contents.items():
        _upload(found, path, data)
    _upload(found, "small/20-large", BIG)
    calls: Counter[str] = Counter()
    stub = CountedStub(found._workspace.connection.run_files, calls)
    monkeypatch.setattr(found._workspace.connection, "run_files", stub)
    files = list(found.files(pattern="small/%"))
    _upload(found, "small/30", replacement)
    found.file("small/35").delete()
    calls.clear()
    for file in files:
        if file.name == "small/30":
            with pytest.raises(errors.Error, match="was replaced"):
                file.download("there")
        elif file.name == "small/35":
            with pytest.raises(errors.NotFound):
                file.download("there")
        else:
            file.download("there").close()
            assert (work / "there" / file.name).read_bytes() == contents.get(file.name, BIG)
    assert calls["DownloadRunFiles"] < 6
    assert calls["DownloadRunFile"] < (6 if replacement != BIG else 40)
    with pickle.loads(pickle.dumps(files[2])).download("again") as file:  # noqa: S301  # our own
        assert file.read().encode() == contents[files[2].name]


def test_a_link_in_the_way_is_not_followed(found: PublicRun, work: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (work / "plots").symlink_to(outside)
    with pytest.raises((errors.Error, OSError)):
        found.file("plots/loss.png").download(replace=True)
    assert list(outside.iterdir()) == []


def test_a_download_goes_on_after_its_connection_was_cut(
    found: PublicRun, work: Path, any_live_server: LiveServer
) -> None:
    target = int(any_live_server.url.rpartition(":")[2])
    with TcpProxy(target) as proxy:
        file = Api({"base_url": f"grpc://{proxy.address}"}).run("/".join(found.path)).file("big.bin")
        proxy.cut_in_reply = 2_000_000
        digest = hashlib.sha256(b"".join(file._data()))
    assert digest.digest() == hashlib.sha256(BIG).digest()
    assert proxy.accepted > 1


def test_a_file_that_was_replaced_meanwhile_is_not_mixed(found: PublicRun, work: Path) -> None:
    file = found.file("big.bin")
    _upload(found, "big.bin", b"other")
    with pytest.raises(errors.Error, match="was replaced"):
        file.download()
    assert list(work.rglob("*big*")) == []
