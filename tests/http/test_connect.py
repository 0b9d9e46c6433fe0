"""Calls over HTTP: what a browser, curl and a client that misbehaves see."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from google.rpc import error_details_pb2

from modelyard.v1 import run_pb2
from tests.clients.waiting import until
from tests.parts.server import Factory, LiveServer, create_key

CREATE, GET, LIST = (f"/modelyard.v1.RunService/{name}" for name in ("CreateRun", "GetRun", "ListRuns"))
WATCH = "/modelyard.v1.EventService/WatchEvents"
END = 2
"""Flags of the last envelope of a stream."""
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    made = LiveServer(tmp_path_factory.mktemp("web"), "--web-port", "0")
    try:
        yield made.start()
    finally:
        made.close()


def connection(server: LiveServer | str) -> http.client.HTTPConnection:
    address = urlsplit(server if isinstance(server, str) else server.web_url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)


def post(
    server: LiveServer, path: str, body: bytes | dict[str, Any], headers: dict[str, str] = JSON
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the response."""
    open_ = connection(server)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        open_.request("POST", path, data, headers)
        response = open_.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
    finally:
        open_.close()


def project(name: str) -> dict[str, Any]:
    return {"run": {"entity": "acme", "project": name}}


def test_a_run_made_by_json_is_read_by_grpc_and_by_protobuf(server: LiveServer) -> None:
    status, headers, body = post(server, CREATE, project("json"))
    assert (status, headers["content-type"]) == (200, "application/json")
    made = json.loads(body)["run"]
    assert server.stubs().runs.GetRun(run_pb2.GetRunRequest(id=made["id"])).run.project == "json"
    request = run_pb2.GetRunRequest(id=made["id"]).SerializeToString()
    status, headers, body = post(server, GET, request, {"content-type": "application/proto"})
    assert (status, headers["content-type"]) == (200, "application/proto")
    assert run_pb2.GetRunResponse.FromString(body).run.id == made["id"]


def test_an_empty_body_is_an_empty_message(server: LiveServer) -> None:
    assert post(server, "/modelyard.v1.ServerService/GetServerInfo", b"")[0] == 200


def test_an_error_has_its_status_its_reason_and_its_details(server: LiveServer) -> None:
    status, headers, body = post(server, GET, {"ref": "acme/nothing/r1"})
    error = json.loads(body)
    assert (status, headers["content-type"], error["code"]) == (404, "application/json", "not_found")
    (info,) = [one for one in error["details"] if one["type"] == "google.rpc.ErrorInfo"]
    padded = info["value"] + "=" * (-len(info["value"]) % 4)
    assert error_details_pb2.ErrorInfo.FromString(base64.b64decode(padded)).reason == "NOT_FOUND"
    assert info["debug"]["reason"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", JSON, 400, "is not the JSON of modelyard.v1.GetRunRequest"),
        (b'{"id": 7}', JSON, 400, "id"),
        (b'{"attempt": "many"}', JSON, 400, "attempt"),
        (b'{"unknown": 1}', JSON, 400, "unknown"),
        (b"\xff\xfe", JSON, 400, "is not the JSON"),
        (b"[]", JSON, 400, "is not the JSON"),
        (b" 5", JSON, 400, "is not the JSON"),
        (b"null", JSON, 400, "is not the JSON"),
        (b'{"readMask":' + b"[" * 100_000, JSON, 400, "is not the JSON"),
        (b"\xff", {"content-type": "application/proto"}, 400, "cannot be decoded"),
        (b"{}", JSON | {"connect-protocol-version": "2"}, 400, "connect-protocol-version"),
        (b"{}", JSON | {"connect-timeout-ms": "soon"}, 400, "connect-timeout-ms"),
        (b"{}", JSON | {"content-encoding": "br"}, 501, "content-encoding"),
        (b"{}", JSON | {"content-encoding": "gzip"}, 400, "not what gzip makes"),
        (
            gzip.compress(b"{}", mtime=0)[:-4],
            JSON | {"content-encoding": "gzip"},
            400,
            "before its gzip stream",
        ),
        (gzip.compress(bytes(5 << 20), mtime=0), JSON | {"content-encoding": "gzip"}, 400, "larger than"),
        (bytes(5 << 20), JSON, 400, "larger than"),
        (b"{}", {"content-type": "text/plain"}, 415, "application/json"),
        (b"{}", {"content-type": "application/connect+json"}, 415, "application/json"),
    ],
)
def test_a_bad_request_is_refused_with_what_is_wrong(
    server: LiveServer, body: bytes, headers: dict[str, str], status: int, words: str
) -> None:
    found = post(server, GET, body, headers)
    assert (found[0], words in found[2].decode()) == (status, True), found


def test_methods_that_do_not_exist_and_other_verbs_are_refused(server: LiveServer) -> None:
    assert post(server, "/modelyard.v1.RunService/Nothing", b"{}")[0] == 404
    # It needs a stream of requests, and the other the server's disk.
    assert post(server, "/modelyard.v1.UploadService/UploadChunks", b"{}")[0] == 404
    assert post(server, "/modelyard.local.v1.LocalService/LocateFiles", b"{}")[0] == 404
    open_ = connection(server)
    open_.request("GET", GET)
    response = open_.getresponse()
    assert (response.status, response.getheader("allow")) == (405, "POST")
    open_.close()


def test_a_long_reply_is_compressed_for_those_who_take_it(server: LiveServer) -> None:
    for number in range(20):
        post(server, CREATE, project("many") | {"requestId": f"many{number}"})
    question = {"entity": "acme", "project": "many"}
    plain = post(server, LIST, question)
    packed = post(server, LIST, question, JSON | {"accept-encoding": "br, gzip;q=0.5"})
    assert packed[1]["content-encoding"] == "gzip"
    assert "content-encoding" not in plain[1]
    assert json.loads(gzip.decompress(packed[2])) == json.loads(plain[2])
    assert len(packed[2]) < len(plain[2]) / 2
    refused = post(server, LIST, question, JSON | {"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused[1]


def test_a_repeated_request_gives_the_first_reply(server: LiveServer) -> None:
    request = project("once") | {"requestId": "once"}
    assert post(server, CREATE, request)[2] == post(server, CREATE, request)[2]


class Watch:
    """A watch of events over HTTP, read envelope by envelope."""

    def __init__(self, server: LiveServer | str, request: bytes, codec: str = "json", **headers: str) -> None:
        self.open = connection(server)
        body = struct.pack(">BI", 0, len(request)) + request
        self.open.request("POST", WATCH, body, {"content-type": f"application/connect+{codec}", **headers})
        self.response = self.open.getresponse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnects."""
        self.response.close()
        self.open.close()

    def end(self) -> Any:
        """The last envelope, after those before it."""
        while True:
            flags, data = self.next()
            if flags == END:
                return json.loads(data)

    def next(self) -> tuple[int, bytes]:
        """Flags and content of the next envelope."""
        flags, length = struct.unpack(">BI", self.response.read(5))
        return flags, self.response.read(length)

    def events(self) -> Iterator[Any]:
        while True:
            flags, data = self.next()
            assert not flags, data
            yield from json.loads(data).get("events", [])


def test_a_watch_sends_events_as_they_happen(server: LiveServer) -> None:
    with Watch(server, b'{"entity": "acme", "project": "live"}') as watch:
        assert watch.next()[0] == 0  # before anything happens
        made = json.loads(post(server, CREATE, project("live"))[2])["run"]
        assert made["id"] in json.dumps(next(watch.events()))


def test_a_stream_that_fails_says_so_in_its_last_envelope(server: LiveServer) -> None:
    with Watch(server, b'{"filter": "nonsense ="}') as watch:
        assert watch.response.status == 200
        assert watch.end()["error"]["code"] == "invalid_argument"
        assert watch.response.read() == b""


def test_a_client_that_disconnects_ends_its_watch(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0", "--watch-streams", "1", "--stream-share", "100").start()
    watch = Watch(server, b"{}")
    assert watch.next()[0] == 0
    with Watch(server, b"{}") as refused:
        assert refused.end()["error"]["code"] == "resource_exhausted"
    watch.close()

    def has_room() -> bool:
        with Watch(server, b"{}") as another:
            return another.next()[0] == 0

    until(has_room)


def test_a_deadline_of_the_client_ends_the_call(server: LiveServer) -> None:
    headers = {"connect-timeout-ms": "200"}
    with Watch(server, b'{"entity": "acme", "project": "silent"}', **headers) as watch:
        assert watch.end()["error"]["code"] == "deadline_exceeded"


def test_keys_are_asked_for_as_over_grpc(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0")
    key = create_key(server, "ci", "--entity", "acme")
    server.start()
    assert post(server, CREATE, project("p"))[0] == 401
    assert post(server, CREATE, project("p"), JSON | {"authorization": f"Bearer {key}x"})[0] == 401
    assert post(server, CREATE, project("p"), JSON | {"authorization": f"Bearer {key}"})[0] == 200
    other = {"run": {"entity": "other", "project": "p"}}
    assert post(server, CREATE, other, JSON | {"authorization": f"Bearer {key}"})[0] in {403, 404}


def test_a_silent_connection_is_closed(server: LiveServer) -> None:
    address = urlsplit(server.web_url)
    with socket.create_connection((address.hostname, address.port)) as silent:
        silent.sendall(b"POST / HTTP/1.1\r\nhost: x\r\n")
        silent.settimeout(30)
        assert silent.recv(1) == b""


def test_a_stopping_server_ends_its_watches_and_then_itself(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0").start()
    with Watch(server, b"{}") as watch:
        assert watch.next()[0] == 0
        server.send(signal.SIGTERM)
        assert watch.end()["error"]["code"] == "unavailable"
    assert server.wait(20) == 0  # not the 30 s that a call may take


def test_the_examples_with_curl_run(live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0")
    key = create_key(server, "ci", "--all-entities")
    server.start()
    document = Path(__file__).parents[2] / "docs" / "calling.md"
    example = re.search(r"<!-- runs: http -->\n```console\n(.*?)```", document.read_text(), re.DOTALL)
    assert example
    commands = re.sub(r"^\$ ", "", example[1], flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        env=os.environ | {"MODELS_HTTP": server.web_url, "MODELS_KEY": key},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count('"name":"Churn"') + done.stdout.count('"name": "Churn"') == 2
