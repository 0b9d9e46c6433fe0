"""The standard gRPC health service: serving it, and asking a server for it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from modelyard_server.settings import StartError

SERVICE_NAME: str = health.SERVICE_NAME


class Health:
    """The health of a server and of each of its services, all the same: not serving at first."""

    def __init__(self, server: Any, names: Iterable[str]) -> None:
        self._servicer = health.aio.HealthServicer()
        self._names = ("", *names)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set(self, *, serving: bool) -> None:
        """Answers SERVING or NOT_SERVING from now on."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for name in self._names:
            await self._servicer.set(name, status)

    async def drain(self) -> None:
        """Answers NOT_SERVING for good."""
        await self._servicer.enter_graceful_shutdown()


def ask(address: str, timeout: float, *, tls: bool = False, authority: Path | None = None) -> str:
    """Returns a line for people when a server answers SERVING within `timeout` seconds. Raises StartError."""
    if tls:
        trusted = authority.read_bytes() if authority else None
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted))
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            status = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout).status
        except grpc.RpcError as failure:
            raise StartError(
                f"{address} does not answer: {failure.code().name}, {failure.details()}"
            ) from failure
    if status != health_pb2.HealthCheckResponse.SERVING:
        raise StartError(f"{address} is {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")
    return f"{address} is SERVING"
