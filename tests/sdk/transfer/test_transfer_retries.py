"""Transfers that the server refuses in the middle, for reasons that pass."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelyard import errors
from modelyard.cache.content import Cache
from modelyard.configuration.addresses import Endpoint
from modelyard.contract.chunking import Chunk, chunk_digest, cut
from modelyard.rpc.connection import Connection
from modelyard.transfer import transfer
from modelyard.transfer.file_reader import Source
from modelyard.v1 import upload_pb2
from tests.clients.transfers import (
    Meter,
    connection,
    contents_of,
    data_folder,
    files_in,
    new_version,
    send,
    way,
)
from tests.parts.server import Factory, run_server_command
from tests.parts.tcp_proxy import TcpProxy
from tests.sdk.artifacts.test_log_unchanged import Counted, settle
from tests.sdk.transfer.test_chunking import MIB, stream

__all__ = ["connection", "data_folder", "way"]

pytest.importorskip("modelyard_server", reason="the server extra is not installed")


class Unpinning(Counted):
    """A connection whose upload loses its hold on the chunks just before the first commit."""

    def __init__(self, inner: Connection, database: Path) -> None:
        super().__init__(inner)
        self._commit = inner.artifacts.CommitModelArtifact
        self.CommitEqualContent = inner.artifacts.CommitEqualContent
        self._database = database
        self.artifacts = self
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner.artifacts, name)

    def CommitModelArtifact(self, messages: Any) -> Any:  # noqa: N802 - the stub's name
        self.commits += 1
        if self.commits == 1:
            with closing(sqlite3.connect(self._database, timeout=30)) as database, database:
                assert database.execute("DELETE FROM pin").rowcount > 0
        return self._commit(messages)


def test_chunks_that_are_missing_at_the_commit_are_asked_about_again(
    connection: Connection, data_folder: Path, tmp_path: Path
) -> None:
    contents = {"big": stream("unpinned", 20 * MIB), "small": b"unpinned"}
    files = files_in(tmp_path / "in", contents)
    connection.current()
    unpinning = Unpinning(connection, data_folder / "modelyard.db")
    version, created = transfer.upload(unpinning, new_version("unpinned"), files, progress=Meter())
    assert created
    assert unpinning.commits == 2
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents


class Ending(Counted):
    """A connection whose upload is deleted just before the first commit."""

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self.artifacts = self
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner.artifacts, name)

    def CommitModelArtifact(self, messages: Any) -> Any:  # noqa: N802 - the stub's name
        messages = list(messages)
        self.commits += 1
        if self.commits == 1:
            ended = upload_pb2.DeleteUploadRequest(upload_id=messages[0].upload_id)
            self._inner.uploads.DeleteUpload(ended)
        return self._inner.artifacts.CommitModelArtifact(iter(messages))


def test_wrong_entries_of_the_index_do_not_count_as_expired_uploads(
    connection: Connection, tmp_path: Path
) -> None:
    contents = {f"part-{number}": stream(f"ending {number}", MIB) for number in range(3)}
    files, cache = files_in(tmp_path / "in", contents), Cache(tmp_path / "cache")
    settle()
    wrong = [Source.of(file) for file in files[:2]]
    for source in wrong:
        right = cut(source.file.source.read_bytes())
        source.chunks = [Chunk(chunk_digest(chunk.digest), chunk.size) for chunk in right]
    cache.upload_index().remember(wrong)
    ending = Ending(connection)
    version, created = transfer.upload(ending, new_version("ending"), files, progress=Meter(), cache=cache)
    assert created
    assert ending.commits == 2
    transfer.download(connection, version, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents


class FlippingProxy(TcpProxy):
    """Flips one bit of the first `marker` that a client sends."""

    def __init__(self, target: int, marker: bytes) -> None:
        super().__init__(target)
        self._marker = marker
        self.flipped = 0

    def _pass_on(
        self, source: socket.socket, sink: socket.socket, is_reply: bool, is_lost: threading.Event
    ) -> None:
        try:
            while data := source.recv(1 << 16):
                place = data.find(self._marker)
                if not is_reply and not self.flipped and place >= 0:
                    self.flipped += 1
                    data = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
                sink.sendall(data)
        except OSError:  # closed by either side
            return


def test_a_chunk_damaged_in_transit_is_sent_again(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory("--no-auth").start()
    marker = stream("marker", 32)
    contents = {"model": b"".join(stream(f"part {number}", 5_000) + marker for number in range(200))}
    with FlippingProxy(server.port, marker) as proxy:
        through = Connection(lambda: Endpoint(proxy.address, tls=False))
        version = send(through, "flipped", tmp_path / "in", contents)
        assert proxy.flipped == 1
        transfer.download(through, version, tmp_path / "out")
        through.close()
    assert contents_of(tmp_path / "out") == contents


def test_a_server_that_is_back_at_its_address_with_another_token_is_found(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    server = live_server_factory().start()
    run_server_command("key", "create", "ci", "--data", str(server.data))
    link = Connection(
        lambda: Endpoint(server.address, tls=False, token=server.token), embedded_folder=server.data
    )
    contents = {"model": stream("token", 3 * MIB)}
    version = send(link, "token", tmp_path / "in", contents)
    cache = Cache(tmp_path / "cache")
    transfer.download(link, version, tmp_path / "first", cache=cache)
    shutil.rmtree(cache.folder / "content")
    port, token = server.port, server.token
    server.restart()
    assert server.port == port
    assert server.token != token
    # The manifest is kept, so that the first call with the old token is the stream itself.
    transfer.download(link, version, tmp_path / "second", cache=cache)
    assert contents_of(tmp_path / "second") == contents
    link.close()


def test_an_invalid_key_is_reported_at_once(live_server_factory: Factory, tmp_path: Path) -> None:
    server = live_server_factory("--embedded").start()
    wrong = Connection(lambda: Endpoint(server.address, tls=False, token="wrong"))
    with pytest.raises(errors.KeyInvalid):
        send(wrong, "wrong", tmp_path / "in", {"model": b"model"})
    wrong.close()
