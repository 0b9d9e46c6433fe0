"""Transfers that are interrupted by the server, the user or the clock, and complete."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from modelyard import errors
from modelyard.rpc.connection import Connection
from modelyard.transfer import transfer
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import upload_pb2
from tests.clients.transfers import (
    Meter,
    connection,
    connection_to,
    contents_of,
    data_folder,
    files_in,
    new_version,
    send,
    server_pid,
    way,
)
from tests.sdk.transfer.test_chunking import MIB, stream

__all__ = ["connection", "data_folder", "way"]

pytest.importorskip("modelyard_server", reason="the server extra is not installed")


class Interruption(Exception):
    """Raised where a process would end in the middle."""


def interrupt() -> None:
    raise Interruption


def test_an_interrupted_download_goes_on_where_it_was(connection: Connection, tmp_path: Path) -> None:
    contents = {"big": stream("resumed", 40 * MIB)}
    version = send(connection, "resumed", tmp_path / "in", contents)
    with pytest.raises(Interruption):
        transfer.download(connection, version, tmp_path / "out", progress=Meter(15 * MIB, interrupt))
    assert not (tmp_path / "out/big").exists()
    meter = Meter()
    transfer.download(connection, version, tmp_path / "out", progress=meter)
    assert meter.already >= 14 * MIB
    assert meter.done == meter.total
    assert contents_of(tmp_path / "out") == contents


def test_an_interrupted_upload_sends_only_what_is_missing(connection: Connection, tmp_path: Path) -> None:
    contents = {"big": stream("resumed upload", 80 * MIB)}
    with pytest.raises(Interruption):
        send(connection, "resumed-upload", tmp_path, contents, Meter(30 * MIB, interrupt))
    meter = Meter()
    version = send(connection, "resumed-upload", tmp_path, contents, meter)
    assert meter.already >= 30 * MIB
    assert meter.done == meter.total == version.size_bytes


def test_a_file_that_changes_meanwhile_makes_no_version(connection: Connection, tmp_path: Path) -> None:
    path = tmp_path / "big"

    def change() -> None:
        os.utime(path, ns=(1, 1))

    with pytest.raises(errors.Error, match="big changed while it was read"):
        send(connection, "moving", tmp_path, {"big": os.urandom(256 * MIB)}, Meter(1, change))
    with pytest.raises(errors.NotFound):
        connection.artifacts.GetModelArtifactVersion(
            pb.GetModelArtifactVersionRequest(ref="local/transfers/moving")
        )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_upload_waits_for_a_server_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    folder = tmp_path / "data"
    connection = connection_to(folder)
    contents = {"big": stream("survives", 120 * MIB)}
    meter = Meter(40 * MIB, lambda: os.kill(server_pid(folder), how))
    try:
        version = send(connection, "survives", tmp_path / "in", contents, meter)
        assert meter.done == meter.total == version.size_bytes
        transfer.download(connection, version, tmp_path / "out")
        assert contents_of(tmp_path / "out") == contents
    finally:
        os.kill(server_pid(folder), signal.SIGTERM)
        connection.close()


def test_a_download_waits_for_a_server_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    connection = connection_to(folder)
    contents = {"big": stream("survives", 120 * MIB), "small": b"small"}
    try:
        version = send(connection, "survives", tmp_path / "in", contents)
        meter = Meter(40 * MIB, lambda: os.kill(server_pid(folder), signal.SIGKILL))
        transfer.download(connection, version, tmp_path / "out", progress=meter)
        assert contents_of(tmp_path / "out") == contents
        assert meter.done == meter.total == version.size_bytes
    finally:
        os.kill(server_pid(folder), signal.SIGTERM)
        connection.close()


class Watched:
    """A connection that remembers the uploads opened through it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.artifacts: Any = self
        self.local = connection.local
        self.shares_disk = connection.shares_disk
        self.uploads: Any = self
        self.upload_ids: list[str] = []

    @property
    def channel(self) -> Any:
        return self._connection.channel

    def reconnect(self) -> None:
        self._connection.reconnect()

    def may_have_moved(self, error: errors.CommError) -> bool:
        return self._connection.may_have_moved(error)

    def CommitEqualContent(self, request: Any) -> Any:  # noqa: N802 - the stub's name
        reply = self._connection.artifacts.CommitEqualContent(request)
        self.upload_ids.append(reply.upload_id)
        return reply

    def CommitModelArtifact(self, requests: Any) -> Any:  # noqa: N802 - the stub's name
        return self._connection.artifacts.CommitModelArtifact(requests)

    def FindMissingChunks(self, request: upload_pb2.FindMissingChunksRequest) -> Any:  # noqa: N802 - the stub's name
        return self._connection.uploads.FindMissingChunks(request)

    def give_up(self) -> None:
        upload = upload_pb2.DeleteUploadRequest(upload_id=self.upload_ids[0])
        self._connection.uploads.DeleteUpload(upload)


def test_an_upload_that_expired_is_made_anew(connection: Connection, tmp_path: Path) -> None:
    watched = Watched(connection)
    files = files_in(tmp_path, {"big": stream("expired", 60 * MIB)})
    meter = Meter(20 * MIB, watched.give_up)
    version, created = transfer.upload(watched, new_version("expired"), files, progress=meter)
    assert created
    assert len(watched.upload_ids) == 2
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == {"big": stream("expired", 60 * MIB)}
