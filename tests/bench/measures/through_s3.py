"""Targets 3 and 4: one large model through the server into an S3 store and back; metadata in SQLite."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.bench import sides
from tests.bench.bench import Bench, Place
from tests.bench.children import Worker
from tests.bench.results import Bound, Row, Target
from tests.bench.rounds import MIB, checked, compare, random_file
from tests.parts import s3

LOG = Target(
    "3",
    "log a model into S3 (MinIO, SQLite)",
    "GB/s",
    "fput_object",
    Bound("times", 0.6),
    Bound("times", 0.9),
)
USE = Target(
    "4", "use a model from S3, cold cache", "GB/s", "fget_object", Bound("times", 1.5), Bound("times", 3)
)


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Each turn logs a file that neither side has seen; then each of them is used."""
    size = place.size(quick=256, full=1024) * MIB
    rounds = place.size(quick=2, full=5)
    files = [folder / f"model-{turn}.bin" for turn in range(rounds + 1)]

    with _both(folder) as (own, peer, place_of_peer):

        def log_ours(turn: int) -> float:
            answer = own.call("log", path=str(files[turn]), name=f"s3-{turn}")
            return size / float(answer["seconds"]) / 1e9

        def log_peer(turn: int) -> float:
            answer = peer.call("log", path=str(files[turn]), **place_of_peer)
            return size / float(answer["seconds"]) / 1e9

        def use_ours(turn: int) -> float:
            answer = own.call("use", made=f"s3-{turn}:latest", into=str(folder / f"ours-{turn}"))
            return size / checked(answer, files[turn]) / 1e9

        def use_peer(turn: int) -> float:
            into = str(folder / f"peer-{turn}")
            answer = peer.call("use", made=files[turn].name, into=into, **place_of_peer)
            return size / checked(answer, files[turn]) / 1e9

        def prepare(turn: int) -> None:
            random_file(files[turn], size)

        yield compare(LOG, rounds, log_ours, log_peer, prepare, moved=size)
        yield compare(USE, rounds, use_ours, use_peer, moved=size)


@contextlib.contextmanager
def _both(folder: Path) -> Iterator[tuple[Worker, Worker, dict[str, str]]]:
    """Our client of a server on the store, the store's own client, and which bucket that one has."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(sides.minio_server(folder / "minio"))
        direct = stack.enter_context(sides.minio_worker(folder / "direct"))
        for bucket in ("ours", "direct"):
            direct.call("make_bucket", endpoint=store.address, bucket=bucket)
        url = s3.S3Server(f"http://{store.address}").url("ours")
        server = stack.enter_context(sides.modelyard_server(folder / "server", ["--store", url]))
        own = stack.enter_context(sides.modelyard_worker(server, folder / "modelyard", embedded=False))
        own.call("start")
        yield own, direct, {"endpoint": store.address, "bucket": "direct"}


BENCH = Bench("s3", (LOG, USE), measure)
