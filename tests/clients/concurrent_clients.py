"""Many clients that log and link models through the SDK's transfer, in a few processes.

`python -m tests.clients.concurrent_clients`: one process of them; takes a `Share` as JSON on
standard input, starts at the next line, and prints what it `Made`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.parts.fork_server import start_python

ROOT = Path(__file__).parents[2]
REGISTERED = "Concurrent"


@dataclass(frozen=True)
class Share:
    """What one of the processes does; sizes in bytes."""

    address: str
    project: str
    clients: Sequence[int]
    models: int
    size: int


@dataclass(frozen=True)
class Made:
    """One model that a client logged and linked, as the server told it."""

    ref: str
    version_id: str
    sha256: str
    link: int


class ConcurrentClients:
    """The processes, each ready to start."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def run(self) -> list[Made]:
        """Lets all clients start and returns what they made. Raises RuntimeError when one failed."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("start\n")
            process.stdin.flush()
        made = []
        for process in self._processes:
            assert process.stdout is not None
            printed = process.stdout.read()
            if process.wait() != 0:
                raise RuntimeError(f"a client process failed with {process.returncode}")
            made += [Made(**fields) for fields in json.loads(printed)]
        return made


@contextmanager
def ready(
    address: str, project: str, *, clients: int, models: int, size: int, processes: int = 4
) -> Iterator[ConcurrentClients]:
    """Clients in so many processes, which are ready and wait; ends them with the block."""
    with ExitStack() as stack:
        started = []
        for first in range(processes):
            share = Share(address, project, range(first, clients, processes), models, size)
            started.append(stack.enter_context(_process(share)))
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("a client process did not start")
        yield ConcurrentClients(started)


@contextmanager
def _process(share: Share) -> Iterator[subprocess.Popen[str]]:
    paths = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    process = start_python(
        "-m",
        "tests.clients.concurrent_clients",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asdict(share) | {"clients": list(share.clients)}) + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def _play(share: Share) -> list[Made]:
    """All clients of this process, each on a thread and a connection of its own."""
    with tempfile.TemporaryDirectory(prefix="modelyard-clients-") as folder:
        print("ready", flush=True)
        sys.stdin.readline()
        with ThreadPoolExecutor(len(share.clients)) as pool:
            shares = pool.map(lambda client: _log_and_link(share, client, Path(folder)), share.clients)
            return [made for client in shares for made in client]


def _log_and_link(share: Share, client: int, folder: Path) -> list[Made]:
    import hashlib
    import uuid

    from modelyard.configuration import addresses
    from modelyard.rpc.connection import Connection
    from modelyard.transfer import transfer
    from modelyard.v1 import registered_model_pb2 as pb

    endpoint = addresses.parse(share.address)
    connection = Connection(lambda: endpoint)
    path = folder / f"{client}.bin"
    made = []
    try:
        for number in range(share.models):
            content = os.urandom(share.size)
            path.write_bytes(content)
            name = f"model-{client}-{number}"
            header = transfer.NewVersion("", share.project, name, "model")
            file = transfer.LocalFile("weights.bin", path)
            version, _ = transfer.upload(connection, header, [file], progress=transfer.SILENT)
            link = connection.registry.LinkModelArtifactVersion(
                pb.LinkModelArtifactVersionRequest(
                    id=version.id,
                    target_ref=f"{share.project}/{REGISTERED}",
                    aliases=[f"client-{client}"],
                    request_id=str(uuid.uuid4()),
                )
            ).version
            ref = f"{share.project}/{name}:v{version.number}"
            made.append(Made(ref, version.id, hashlib.sha256(content).hexdigest(), link.number))
    finally:
        connection.close()
    return made


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    print(json.dumps([asdict(made) for made in _play(Share(**given))]), flush=True)
