"""Any input gets a reply, or a refusal that says what is wrong: no internal error, no growing memory.

`MODELYARD_FUZZ_EXAMPLES=5000 .venv/bin/python -m pytest tests/wire/bad_input/test_fuzz.py --timeout 3600`
looks for longer, at other examples in each run. Without it the examples are always the same.
"""

from __future__ import annotations

import os
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.v1 import model_artifact_pb2, run_pb2
from tests.parts.server import LiveServer, Stubs
from tests.wire.bad_input import strategies
from tests.wire.bad_input.calling import call_over_http, check, reason_and_fields, refusal_of, send
from tests.wire.bad_input.lists import FILTERED, LISTS, ORDERED
from tests.wire.bad_input.scene import METHODS, Scene, make, messages

FEW = 6
EXAMPLES = int(os.environ.get("MODELYARD_FUZZ_EXAMPLES", FEW))
"""Of each method; of what is tried over all methods, ten times as many."""
MIB = 1 << 20
MOST_GROWTH = 64 * MIB


def tried(times: int = 1) -> Any:
    """The settings of a test with so many times the examples."""
    return settings(
        max_examples=EXAMPLES * times,
        deadline=None,
        derandomize=EXAMPLES == FEW,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@pytest.fixture(scope="module", params=["sqlite+disk", "postgresql+s3"])
def both(request: pytest.FixtureRequest) -> tuple[Stubs, Scene]:
    """Stubs and a scene on both databases, which are not asked in the same SQL."""
    if request.param == "sqlite+disk":
        return request.getfixturevalue("stubs"), request.getfixturevalue("scene")
    stubs = request.getfixturevalue("production_server").stubs()
    return stubs, make(stubs)


@pytest.mark.parametrize("method", METHODS)
def test_any_message_of_a_method_gets_a_reply_or_a_refusal(both: tuple[Stubs, Scene], method: str) -> None:
    stubs, scene = both

    @tried()
    @given(requests=strategies.requests(method, scene))
    def call(requests: list[Any]) -> None:
        check(refusal_of(stubs, method, requests))

    call()


@pytest.mark.parametrize("method", METHODS)
def test_any_bytes_get_a_reply_or_a_refusal(stubs: Stubs, scene: Scene, method: str) -> None:
    @tried()
    @given(data=st.lists(strategies.nearly_encoded(method, scene), min_size=1, max_size=2))
    def call(data: list[bytes]) -> None:
        check(refusal_of(stubs, method, data[: 1 + METHODS[method].client_streaming]))

    call()


UNCOMPRESSED = st.integers(0, 127).map(lambda half: 2 * half)
"""Flags of a message. Connect wants INTERNAL for one that is compressed although no header says how."""
OVER_HTTP = [name for name, method in METHODS.items() if not method.client_streaming and "/Watch" not in name]


@pytest.mark.parametrize("method", OVER_HTTP)
def test_any_body_over_http_gets_a_reply_or_a_refusal(server: LiveServer, scene: Scene, method: str) -> None:
    @tried()
    @given(body=strategies.json_bodies(method, scene), flags=UNCOMPRESSED)
    def call(body: bytes, flags: int) -> None:
        status, error = call_over_http(server, method, body, flags=flags)
        reason, _ = reason_and_fields(error)
        assert reason != "INTERNAL", error
        assert status < 500 or reason in {"UNIMPLEMENTED", "DATA_LOSS"}, (status, error)

    call()


HEADERS = (
    "accept-encoding",
    "authorization",
    "connect-accept-encoding",
    "connect-content-encoding",
    "connect-protocol-version",
    "connect-timeout-ms",
    "content-encoding",
    "content-type",
    "cookie",
    "origin",
    "x-request-id",
)


def test_any_headers_over_http_get_a_reply_or_a_refusal(server: LiveServer, scene: Scene) -> None:
    plain = st.text(
        st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=30
    )
    known = st.sampled_from(
        ["gzip", "br", "gzip;q=0", "1", "0", "-1", "9999999999", "application/json", "Bearer x"]
    )
    method = "RunService/GetRun"

    @tried(10)
    @given(
        headers=st.dictionaries(st.sampled_from(HEADERS), st.one_of(known, plain.map(str.strip)), max_size=4)
    )
    def call(headers: dict[str, str]) -> None:
        given_ = {"content-type": "application/json", **headers}
        status, found = send(server, "POST", f"/modelyard.v1.{method}", b'{"id":"x"}', given_)
        assert status < 500 or status in {501, 504}, (status, found)

    call()


def test_any_address_of_a_file_gets_a_file_or_a_refusal(server: LiveServer, scene: Scene) -> None:
    @tried(20)
    @given(
        verb=st.sampled_from(["GET", "HEAD"]),
        path=strategies.file_addresses(scene),
        range_=st.one_of(st.none(), strategies.RANGES),
    )
    def call(verb: str, path: str, range_: str | None) -> None:
        status, found = send(server, verb, path, headers={"range": range_.strip()} if range_ else {})
        assert status in {200, 206, 304, 400, 404, 416}, (status, found)

    call()


@pytest.mark.parametrize("method", FILTERED)
def test_any_filter_and_order_find_rows_or_are_refused(both: tuple[Stubs, Scene], method: str) -> None:
    stubs, scene = both

    @tried(5)
    @given(filter_=strategies.filters(scene), order=strategies.orders(scene))
    def call(filter_: str, order: str) -> None:
        request = {**LISTS[method], "filter": filter_}
        if method in ORDERED:
            request["order_by"] = order
        check(refusal_of(stubs, method, messages(method, [request], scene)))

    call()


def test_any_page_token_goes_on_or_is_refused(stubs: Stubs, scene: Scene) -> None:
    for _ in range(2):
        stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=scene["project"])))
    asked = run_pb2.ListRunsRequest(project=scene["project"], page_size=1)
    real = stubs.runs.ListRuns(asked).next_page_token

    @tried(10)
    @given(token=strategies.tokens(real))
    def call(token: str) -> None:
        request = run_pb2.ListRunsRequest(project=scene["project"], page_size=1, page_token=token)
        check(refusal_of(stubs, "RunService/ListRuns", [request]))

    call()


def test_bad_input_costs_no_memory(server: LiveServer, stubs: Stubs) -> None:
    """After a warm-up: the first calls load modules and fill caches."""
    large = [model_artifact_pb2.UploadModelArtifactRequest(path="x" * 2000, data=bytes(MIB))] * 3
    deep = model_artifact_pb2.GetModelArtifactVersionRequest(ref="x/" * 100_000)

    def many() -> int:
        for number in range(100):
            check(refusal_of(stubs, "ModelArtifactService/UploadModelArtifact", large))
            check(refusal_of(stubs, "ModelArtifactService/GetModelArtifactVersion", [deep]))
            refs = f"unknown-{number}/m:v{number}"
            request = model_artifact_pb2.GetModelArtifactVersionRequest(ref=refs)
            check(refusal_of(stubs, "ModelArtifactService/GetModelArtifactVersion", [request]))
        return psutil.Process(server.pid).memory_info().rss

    assert many() + MOST_GROWTH > many()
