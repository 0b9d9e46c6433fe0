"""Calling the service as docs/calling.md says: plain stubs and the published service config."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.parts.server import LiveServer, Stubs, stubs_on

SERVICE_CONFIG = Path(__file__).parents[2] / "proto" / "service-config.json"
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.service_config", SERVICE_CONFIG.read_text()),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)


@contextmanager
def calling(target: str, token: str = "", options: Sequence[tuple[str, Any]] = ()) -> Iterator[Stubs]:
    """Stubs on a channel with the service config."""
    with grpc.insecure_channel(target, options=[*OPTIONS, *options]) as channel:
        yield stubs_on(channel, token)


def lines_about(server: LiveServer, request_id: str) -> list[dict[str, Any]]:
    """The server's log lines of calls that had this `x-request-id`."""
    found = []
    for line in server.log.read_text().splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if record.get("request_id") == request_id:
                found.append(record)
    return found
