"""Target 13: memory on both sides while one large file moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.bench import memory
from tests.bench.bench import Bench, Place
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, checked, random_file
from tests.bench.sides import modelyard_server, modelyard_worker


def _target(what: str) -> Target:
    return Target("13", what, "MB", "the file", Bound("value", 300), Bound("value", 150))


SDK_UP, SERVER_UP = _target("SDK above its base, logging"), _target("server in all, logging")
SDK_DOWN, SERVER_DOWN = _target("SDK above its base, using"), _target("server in all, using")


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Once: a peak does not scatter as times do. Both processes have done nothing else before.

    Over the wire, which takes more than an embedded server that reads the files itself.
    """
    size = place.size(quick=1024, full=8192) * MIB
    path = random_file(folder / "model.bin", size)
    whole = [size / 1e6]
    with (
        modelyard_server(folder / "server") as server,
        modelyard_worker(server, folder / "client", embedded=False) as client,
    ):
        client.call("start")
        pids = client.pid, server.server.pid

        def peaks(call: str, **arguments: str) -> tuple[float, float, dict[str, object]]:
            for pid in pids:
                memory.forget_peak(pid)
            base = memory.resident(client.pid)
            answer = client.call(call, **arguments)
            return memory.peak(client.pid) - base, memory.peak(server.server.pid), answer

        own, held, logged = peaks("log", path=str(path), name="large")
        yield Row(SDK_UP, [own], whole)
        yield Row(SERVER_UP, [held], whole)
        own, held, used = peaks("use", made=str(logged["made"]), into=str(folder / "used"))
        checked(used, path)
        yield Row(SDK_DOWN, [own], whole)
        yield Row(SERVER_DOWN, [held], whole)


BENCH = Bench("memory", (SDK_UP, SERVER_UP, SDK_DOWN, SERVER_DOWN), measure)
