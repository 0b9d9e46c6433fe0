"""The status of a refused call: its code, its reason, and the fields it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from modelyard import errors


@dataclass
class Refusal:
    """A status as a client in any language sees it."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""
    message: str = ""
    fields: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    retry: bool = False


@contextmanager
def refused(reason: str, *fields: str) -> Iterator[Refusal]:
    """The call inside is refused for this reason, with its published status, and names these fields."""
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as caught:
        yield refusal
    read(caught.value, refusal)
    assert refusal.reason == reason, refusal
    assert refusal.code.value[0] == errors.BY_REASON[reason].code, refusal
    if fields:
        assert refusal.fields == list(fields), refusal


def read(error: grpc.RpcError, refusal: Refusal) -> None:
    """Fills in what the status carries: exactly one ErrorInfo, and what goes with it."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    refusal.code, refusal.message = error.code(), error.details()
    infos = []
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(info):
            infos.append(info)
        elif detail.Unpack(bad):
            refusal.fields = [violation.field for violation in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            refusal.retry = True
    assert [info.domain for info in infos] == ["modelyard"]
    refusal.reason, refusal.metadata = infos[0].reason, dict(infos[0].metadata)
