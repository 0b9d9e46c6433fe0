"""The server's log lines: one JSON object each, which calls get one, and what it says."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import grpc
import pytest

from modelyard.v1 import registered_model_pb2, run_pb2
from modelyard_server.observability import call_record, logs
from tests.clients import fast_upload
from tests.parts.server import Factory, LiveServer, new_project

CREATE_RUN = "/modelyard.v1.RunService/CreateRun"


def lines(server: LiveServer) -> list[dict[str, Any]]:
    text = server.log.read_text()
    return [json.loads(line) for line in text.splitlines() if not line.startswith("modelyard ")]


def of(server: LiveServer, method: str) -> list[dict[str, Any]]:
    return [line for line in lines(server) if line.get("method") == method]


def make_run(server: LiveServer, request_id: str, **fields: str) -> None:
    run = run_pb2.Run(project=new_project(), **fields)
    server.stubs().runs.CreateRun(
        run_pb2.CreateRunRequest(run=run), metadata=[("x-request-id", request_id)], timeout=30
    )


def test_at_debug_every_call_has_one_line(live_server_factory: Factory) -> None:
    server = live_server_factory("--log-level", "debug").start()
    make_run(server, "first")
    make_run(server, "second")
    written = of(server, CREATE_RUN)
    assert [line["request_id"] for line in written] == ["first", "second"]
    for line in written:
        assert line["level"] == "debug"
        assert line["status"] == "OK"
        assert line["principal"] == "local"
        assert 0 < line["duration_ms"] < 30_000


def test_at_info_fast_successful_calls_have_no_line(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    make_run(server, "quiet")
    assert of(server, CREATE_RUN) == []


def test_a_refused_call_has_a_line_at_info_with_its_reason(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    with pytest.raises(grpc.RpcError) as caught:
        make_run(server, "wrong", name="no/slashes")
    (line,) = of(server, CREATE_RUN)
    assert (line["level"], line["request_id"], line["principal"]) == ("info", "wrong", "local")
    assert (line["status"], line["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert line["message"] == caught.value.details()


def test_a_slow_unary_call_has_a_line_at_info(live_server_factory: Factory) -> None:
    server = live_server_factory().start()
    make_run(server, "fast")
    with closing(sqlite3.connect(server.data / "modelyard.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else writes meanwhile
        call = server.stubs().runs.CreateRun.future(
            run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project())),
            metadata=[("x-request-id", "slow")],
            timeout=30,
        )
        time.sleep(call_record.SLOW_SECONDS + 0.3)
        other.execute("ROLLBACK")
        call.result()
    (line,) = of(server, CREATE_RUN)
    assert (line["level"], line["message"], line["request_id"]) == ("info", "a slow call", "slow")
    assert line["duration_ms"] > 1000 * call_record.SLOW_SECONDS


def test_a_slow_stream_is_not_a_slow_call(live_server_factory: Factory) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "writer.before_put=sleep(1.2)"}).start()
    fast_upload.log(server.stubs(), new_project(), "bert", {"a": fast_upload.random_chunks(1)}, type="model")
    assert [line for line in lines(server) if line["message"] == "a slow call"] == []


def test_lines_of_an_unforeseen_error_lead_from_the_incident_to_the_traceback(
    live_server_factory: Factory,
) -> None:
    server = live_server_factory(env={"MODELYARD_FAILPOINTS": "writer.before_intent=error"}).start()
    with pytest.raises(grpc.RpcError) as caught:
        fast_upload.log(server.stubs(), new_project(), "bert", {"a": fast_upload.random_chunks(1)})
    incident = caught.value.details().rpartition(" ")[2]
    (line,) = [line for line in lines(server) if line.get("incident") == incident]
    assert line["level"] == "error"
    assert "FailpointError: writer.before_intent" in line["traceback"]
    assert line["method"] == "/modelyard.v1.UploadService/UploadChunks"
    (refused,) = [line for line in of(server, line["method"]) if line.get("status") == "INTERNAL"]
    assert refused["request_id"] == line["request_id"]


def test_a_line_of_a_call_with_an_unknown_key_names_no_principal(live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded").start()
    with pytest.raises(grpc.RpcError):
        server.stubs("some-token").registry.ListRegisteredModels(
            registered_model_pb2.ListRegisteredModelsRequest()
        )
    (line,) = of(server, "/modelyard.v1.RegisteredModelService/ListRegisteredModels")
    assert line["status"] == "UNAUTHENTICATED"
    assert "principal" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key my_0123456789abcdefghijABCDEFGHIJ-_ is bad", "key my_… is bad"),
        ("authorization: Bearer abc.def-ghi", "authorization: Bearer …"),
        ("at postgresql://user:p@ss/w#rd@host:5432/db?x=1", "at postgresql://user:…@host:5432/db?x=1"),
        (
            "my_model, http://host:80/path and my_other_model:v1",
            "my_model, http://host:80/path and my_other_model:v1",
        ),
    ],
)
def test_secrets_are_redacted_in_lines(text: str, shown: str) -> None:
    assert logs.redacted(text) == shown


def test_an_error_that_ends_the_process_is_logged() -> None:
    script = "from modelyard_server.observability import logs; logs.configure('info')\n"
    script += "raise RuntimeError('cannot connect to postgresql://user:hunter22@host/db')"
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    line = json.loads(ended.stderr)
    assert (ended.returncode, line["level"]) == (1, "critical")
    assert "RuntimeError: cannot connect to postgresql://user:…@host/db" in line["traceback"]
