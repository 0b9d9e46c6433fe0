"""The memory of many uploads at once is bounded."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.local.v1 import local_pb2
from tests.bench import memory
from tests.clients import fast_upload
from tests.clients.idle_streams import MIB, IdleStreams
from tests.clients.waiting import until
from tests.parts.server import Factory, new_project

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read as on Linux")


def test_64_simple_uploads_at_once_stay_within_their_memory(live_server_factory: Factory) -> None:
    server = live_server_factory("--sweep-seconds", "1").start()
    idle = IdleStreams(server, server.token)
    before = memory.resident(server.pid)
    try:
        idle.upload_simply(64, new_project(), 7 * MIB)
        until(lambda: idle.standing == 64)
        time.sleep(3)  # the last of it is on its way
        # 4 MiB each, and 64 MiB together; what else it took for a moment goes with a sweep.
        until(lambda: memory.resident(server.pid) < before + 350)
        assert idle.refused == []
    finally:
        idle.leave()


def test_many_uploads_of_local_files_at_once_stay_within_their_memory(
    live_server_factory: Factory, tmp_path: Path
) -> None:
    server = live_server_factory().start()
    stubs, before = server.stubs(), memory.resident(server.pid)

    def take(number: int) -> int:
        path = tmp_path / str(number)
        path.write_bytes(b"")
        os.truncate(path, 64 * MIB)
        found = path.stat()
        file = local_pb2.LocalFile(
            path=os.fsencode(path), size_bytes=64 * MIB, modified_ns=found.st_mtime_ns, inode=found.st_ino
        )
        request = local_pb2.TakeFilesRequest(upload_id=fast_upload.create(stubs, project="p"), files=[file])
        return sum(chunk.size_bytes for reply in stubs.local.TakeFiles(request) for chunk in reply.chunks)

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(take, range(24))) == [64 * MIB] * 24
    # 12 MiB each, and 192 MiB together; the rest is slack.
    assert memory.peak(server.pid) < before + 750
