"""`modelyard server health`: what a container's health check and a balancer's script run."""

from __future__ import annotations

from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelyard_server.settings import StartError


def ask(address: str, timeout: float, *, tls: bool = False, authority: Path | None = None) -> str:
    """One line when the server says SERVING, within `timeout` seconds. Raises StartError when it does not."""
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
