"""A power cut: what was acknowledged is on the disk, whatever its file system had not written yet.

The data folder lies on a file system of its own in an image. A copy of the image has what
reached the disk at that moment, and nothing of what the kernel still held in memory.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.clients.fast_upload import random_chunks
from tests.clients.waiting import until
from tests.parts.processes import missing, require
from tests.parts.server import Factory, LiveServer, Stubs
from tests.parts.system.system_calls import injected

IMAGE_BYTES = 96 << 20
CUTS, FEW = 2, 3
MOUNT_OPTIONS = "loop,commit=600"
"""The file system writes of itself only what it is asked to: the worst case."""


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """The file system of an image at a folder."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-o", MOUNT_OPTIONS, image, folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        missing(f"no image can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An empty ext4 file system."""
    program = require(shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin"), "mkfs.ext4")
    made = tmp_path / "image"
    with made.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run([program, "-q", "-F", made], check=True, capture_output=True)
    return made


class Writer:
    """A client that logs one version after another, and notes which were acknowledged."""

    def __init__(self, server: LiveServer) -> None:
        self.acknowledged: list[tuple[int, bytes]] = []
        self._stubs = server.stubs()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        """Returns when the server is gone."""
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            while True:
                (chunk,) = random_chunks(1, random.randrange(1_000, 300_000))
                version = fast_upload.log(self._stubs, "p", "bert", {"w": [chunk]}).version
                self.acknowledged.append((version.number, chunk))


@pytest.mark.parametrize("cut", range(CUTS))
def test_what_was_acknowledged_before_a_power_cut_is_there_after_it(
    live_server_factory: Factory, tmp_path: Path, image: Path, cut: int
) -> None:
    known = cut_the_power(live_server_factory, tmp_path, image)
    with mounted(tmp_path / "copy", tmp_path / "after") as after:
        server = live_server_factory(place=("--data", str(after / "data"))).start()
        check(server.stubs(), known)
        server.stop()


def test_a_power_cut_loses_what_was_acknowledged_without_fsync(
    live_server_factory: Factory, tmp_path: Path, image: Path
) -> None:
    """The test above can fail: fsync that does nothing stands for an acknowledgement before it."""
    known = cut_the_power(live_server_factory, tmp_path, image, fault="fsync,fdatasync:retval=0")
    with mounted(tmp_path / "copy", tmp_path / "after") as after:
        server = live_server_factory(place=("--data", str(after / "data")))
        with pytest.raises((AssertionError, grpc.RpcError, IndexError)):
            check(server.start().stubs(), known)


def cut_the_power(make: Factory, folder: Path, image: Path, fault: str = "") -> Sequence[tuple[int, bytes]]:
    """Copies the image while versions are logged; returns those acknowledged before, with their content."""
    with mounted(image, folder / "before") as before:
        server = make(place=("--data", str(before / "data"))).start()
        with injected(server.pid, fault) if fault else contextlib.nullcontext():
            writer = Writer(server)
            until(lambda: len(writer.acknowledged) > FEW)
            time.sleep(random.uniform(0, 0.3))
            server.send(signal.SIGSTOP)
            known = list(writer.acknowledged)
            shutil.copy(image, folder / "copy")
            server.kill()
            writer.join()
    return known


def check(stubs: Stubs, known: Sequence[tuple[int, bytes]]) -> None:
    """Fails unless these versions are whole, and so is every other one."""
    request = pb.ListModelArtifactVersionsRequest(ref="p/bert", order_by="number", page_size=1000)
    versions = stubs.artifacts.ListModelArtifactVersions(request).versions
    assert [version.number for version in versions] == list(range(len(versions)))
    for number, chunk in known:
        assert fast_upload.read(stubs, versions[number].id, "w") == chunk
    for version in versions[len(known) :]:
        assert len(fast_upload.read(stubs, version.id, "w")) == version.size_bytes
