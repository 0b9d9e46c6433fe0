"""Resolves an alias again and again, from several connections at once: over gRPC, or over HTTP.

The standard library and grpc only, each connection its own, the next request as soon as the
last is answered. Client and server share the machine, so the client has to be cheap.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
import urllib.parse
from typing import Any

from tests.bench.workers.orders import obey


def over_http(address: str, name: str, alias: str, connections: int, seconds: float) -> list[float]:
    """Seconds that each request took: MLflow's REST call for an alias."""
    query = urllib.parse.urlencode({"name": name, "alias": alias})
    path = f"/api/2.0/mlflow/registered-models/alias?{query}"
    taken: list[list[float]] = [[] for _ in range(connections)]
    end = time.perf_counter() + seconds

    def ask(own: list[float]) -> None:
        connection = http.client.HTTPConnection(address)
        now = time.perf_counter()
        while now < end:
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
            if reply.status != 200:
                raise RuntimeError(f"{reply.status}: {body[:200]!r}")
            own.append(-now + (now := time.perf_counter()))
        connection.close()

    _in_threads(ask, taken)
    return [one for own in taken for one in own]


def _in_threads(ask: Any, taken: list[list[float]]) -> None:
    failures: list[Exception] = []

    def guarded(own: list[float]) -> None:
        try:
            ask(own)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(own,)) for own in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def over_grpc(address: str, ref: str, connections: int, seconds: float) -> list[float]:
    """Seconds that each request took: GetModelArtifactVersion by its ref."""
    if connections == 1:
        return _over_one_channel(address, ref, seconds)
    return asyncio.run(_over_channels(address, ref, connections, seconds))


def _over_one_channel(address: str, ref: str, seconds: float) -> list[float]:
    import grpc

    from modelyard.v1 import model_artifact_pb2 as pb
    from modelyard.v1 import model_artifact_pb2_grpc as services

    taken: list[float] = []
    request = pb.GetModelArtifactVersionRequest(ref=ref)
    with grpc.insecure_channel(address) as channel:
        resolve = services.ModelArtifactServiceStub(channel).GetModelArtifactVersion
        now = time.perf_counter()
        end = now + seconds
        while now < end:
            resolve(request)
            taken.append(-now + (now := time.perf_counter()))
    return taken


async def _over_channels(address: str, ref: str, connections: int, seconds: float) -> list[float]:
    import grpc

    from modelyard.v1 import model_artifact_pb2 as pb
    from modelyard.v1 import model_artifact_pb2_grpc as services

    taken: list[float] = []
    request = pb.GetModelArtifactVersionRequest(ref=ref)
    end = time.perf_counter() + seconds

    async def ask() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]  # else they all share one connection
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            resolve = services.ModelArtifactServiceStub(channel).GetModelArtifactVersion
            now = time.perf_counter()
            while now < end:
                await resolve(request)
                taken.append(-now + (now := time.perf_counter()))

    await asyncio.gather(*(ask() for _ in range(connections)))
    return taken


if __name__ == "__main__":
    obey({"over_http": over_http, "over_grpc": over_grpc})
