"""The memory of a server, and that it returns it to the system when it is idle."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench import memory
from tests.clients import fast_upload
from tests.clients.waiting import until
from tests.parts.s3 import S3Server
from tests.parts.server import Factory, new_project

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is read, and given back, as on Linux with glibc"
)

_PROGRAM = """
import os
from modelyard.host import allocator
from tests.bench import memory
assert allocator.tune_server()
held = [b"x" * (1 << 20) for _ in range(100)]
held.append(b"the last one, which lies behind the others")
full = memory.resident(os.getpid())
del held[:100]
kept = memory.resident(os.getpid())
assert allocator.give_back()
print(full, kept, memory.resident(os.getpid()))
"""


def test_freed_memory_is_kept_for_the_next_messages_until_it_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    full, kept, left = map(float, done.stdout.split())
    assert kept > full - 10
    assert left < full - 90


def test_a_quiet_server_gives_back_what_uploads_took(
    live_server_factory: Factory, minio_server: S3Server
) -> None:
    store = minio_server.url(minio_server.new_bucket())
    server = live_server_factory("--store", store, "--sweep-seconds", "1").start()
    base = memory.resident(server.pid)
    fast_upload.log(server.stubs(), new_project(), "large", {"w": fast_upload.random_chunks(48, 2 << 20)})
    assert memory.peak(server.pid) > base + 80
    until(lambda: memory.resident(server.pid) < base + 25)
