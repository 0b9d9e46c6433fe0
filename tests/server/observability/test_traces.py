"""Traces: what arrives at a collector, and how calls of one trace hang together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from modelyard.v1 import model_artifact_pb2, registered_model_pb2, run_pb2
from tests.clients import fast_upload
from tests.parts.collector import Collector, ReceivedSpan
from tests.parts.server import Factory, LiveServer, new_project, run_server_command

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")
# The exporter's own pause between two sends is 5 s: no test should wait so long.
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}


def traced(make: Factory, collector: Collector, *options: str) -> LiveServer:
    return make("--otel-endpoint", collector.url, *options, env=QUICK).start()


def call_span(collector: Collector, method: str, trace: str = "") -> ReceivedSpan:
    name = f"modelyard.v1.{method}"
    return collector.wait_for(lambda span: span.name == name and trace in {"", span.trace})


def below(collector: Collector, parent: ReceivedSpan, name: str) -> ReceivedSpan:
    return collector.wait_for(
        lambda span: (span.name, span.trace, span.parent) == (name, parent.trace, parent.id)
    )


def test_a_call_is_a_span_with_its_transaction_below(
    live_server_factory: Factory, collector: Collector
) -> None:
    server = traced(live_server_factory, collector)
    run = run_pb2.Run(project=new_project())
    server.stubs().runs.CreateRun(
        run_pb2.CreateRunRequest(run=run), metadata=[TRACEPARENT, ("x-request-id", "mine-17")]
    )
    span = call_span(collector, "RunService/CreateRun")
    assert (span.trace, span.parent) == (TRACE, PARENT)
    assert span.attributes["rpc.system"] == "grpc"
    assert span.attributes["rpc.service"] == "modelyard.v1.RunService"
    assert span.attributes["rpc.method"] == "CreateRun"
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert span.attributes["modelyard.request_id"] == "mine-17"
    assert span.resource["service.name"] == "modelyard-server"
    below(collector, span, "database write")


def test_the_steps_of_an_upload_and_a_download_are_below_their_calls(
    live_server_factory: Factory, collector: Collector
) -> None:
    stubs = traced(live_server_factory, collector).stubs()
    chunks = fast_upload.random_chunks(2)
    version = fast_upload.log(stubs, new_project(), "bert", {"a": chunks}, type="model").version
    fast_upload.read(stubs, version.id, "a")

    upload = call_span(collector, "UploadService/UploadChunks")
    below(collector, below(collector, upload, "pack intent"), "database write")
    below(collector, upload, "store put")
    below(collector, below(collector, upload, "pack publish"), "database write")
    download = call_span(collector, "ModelArtifactService/DownloadFile")
    below(collector, download, "database read")
    below(collector, download, "store read")
    # Calls without a caller's trace begin traces of their own.
    assert upload.parent == download.parent == ""
    assert upload.trace != download.trace


def test_concurrent_calls_have_separate_traces(live_server_factory: Factory, collector: Collector) -> None:
    stubs = traced(live_server_factory, collector).stubs()
    traces = [f"{number:032x}" for number in range(1, 25)]
    calls = [
        stubs.runs.CreateRun.future(
            run_pb2.CreateRunRequest(run=run_pb2.Run(project=new_project())),
            metadata=[("traceparent", f"00-{trace}-{PARENT}-01")],
        )
        for trace in traces
    ]
    for call in calls:
        call.result(timeout=30)
    for trace in traces:
        span = call_span(collector, "RunService/CreateRun", trace)
        assert below(collector, span, "database write").trace == trace
        assert len([child for child in collector.children(span) if child.name == "database write"]) == 1


def test_a_refused_call_names_its_reason_and_only_faults_of_the_server_are_errors(
    live_server_factory: Factory, collector: Collector
) -> None:
    server = traced(live_server_factory, collector)
    question = model_artifact_pb2.GetModelArtifactVersionRequest(ref="nowhere/nothing:v0")
    with pytest.raises(grpc.RpcError):
        server.stubs().artifacts.GetModelArtifactVersion(question)
    span = call_span(collector, "ModelArtifactService/GetModelArtifactVersion")
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert span.attributes["modelyard.reason"] == "NOT_FOUND"
    assert not span.failed


def test_an_unforeseen_error_is_a_failed_span(live_server_factory: Factory, collector: Collector) -> None:
    server = live_server_factory(
        "--otel-endpoint", collector.url, env=QUICK | {"MODELYARD_FAILPOINTS": "writer.before_intent=error"}
    ).start()
    stubs = server.stubs()
    with pytest.raises(grpc.RpcError):
        fast_upload.log(stubs, new_project(), "bert", {"a": fast_upload.random_chunks(1)}, type="model")
    span = call_span(collector, "UploadService/UploadChunks")
    assert span.failed
    assert span.attributes["modelyard.reason"] == "INTERNAL"


def test_log_lines_name_the_trace(live_server_factory: Factory, collector: Collector) -> None:
    server = traced(live_server_factory, collector, "--log-level", "debug")
    server.stubs().registry.ListRegisteredModels(
        registered_model_pb2.ListRegisteredModelsRequest(), metadata=[TRACEPARENT]
    )
    assert f'"trace_id": "{TRACE}"' in server.log.read_text()


def test_the_standard_variables_ask_for_traces_too(
    live_server_factory: Factory, collector: Collector
) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
        "OTEL_SERVICE_NAME": "registry-7",
    }
    server = live_server_factory(env=QUICK | variables).start()
    server.stubs().registry.ListRegisteredModels(registered_model_pb2.ListRegisteredModelsRequest())
    span = call_span(collector, "RegisteredModelService/ListRegisteredModels")
    assert span.resource["service.name"] == "registry-7"
    assert ("x-tenant", "blue") in collector.metadata


def test_spans_that_wait_are_sent_when_the_server_stops(
    live_server_factory: Factory, collector: Collector
) -> None:
    slow = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
    server = live_server_factory("--otel-endpoint", collector.url, env=slow).start()
    server.stubs().registry.ListRegisteredModels(registered_model_pb2.ListRegisteredModelsRequest())
    assert not collector.spans
    assert server.stop() == 0
    assert [span.name for span in collector.spans if not span.parent] == [
        "modelyard.v1.RegisteredModelService/ListRegisteredModels"
    ]


def test_an_unreachable_collector_delays_no_call(live_server_factory: Factory) -> None:
    server = live_server_factory("--otel-endpoint", "http://127.0.0.1:9", env=QUICK).start()
    for _ in range(20):
        server.stubs().registry.ListRegisteredModels(registered_model_pb2.ListRegisteredModelsRequest())
    assert server.stop() == 0


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4317", "http://user:hunter22@127.0.0.1:4317", "ftp://host"])
def test_a_malformed_endpoint_is_refused_without_printing_it(endpoint: str, tmp_path: Path) -> None:
    refused = run_server_command("start", "--data", str(tmp_path), "--otel-endpoint", endpoint)
    assert refused.returncode == 1
    assert "--otel-endpoint takes http://host:port" in refused.stderr
    assert "hunter22" not in refused.stderr


SCRIPT = """
import sys, modelyard
from opentelemetry.sdk.trace import TracerProvider
tracer = TracerProvider().get_tracer("training")
with tracer.start_as_current_span("epoch") as span:
    with modelyard.init(project=sys.argv[1]) as run:
        run.log_model(sys.argv[2], name="bert")
print(f"{span.get_span_context().trace_id:032x}")
"""


def test_what_the_sdk_does_inside_a_span_of_the_user_belongs_to_its_trace(
    live_server_factory: Factory, collector: Collector, tmp_path: Path
) -> None:
    server = traced(live_server_factory, collector)
    (tmp_path / "model.bin").write_bytes(b"weights" * 100_000)
    environment = {"MODELYARD_URL": server.url, "MODELYARD_API_KEY": server.token, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, new_project(), str(tmp_path / "model.bin")],
        env=environment | {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    trace = done.stdout.splitlines()[-1]
    for method in ("RunService/CreateRun", "ModelArtifactService/CommitModelArtifact"):
        assert call_span(collector, method).trace == trace
    assert call_span(collector, "UploadService/UploadChunks").trace == trace


def test_the_sdk_imports_nothing_for_traces() -> None:
    script = "import sys, modelyard, modelyard.rpc.calls; assert modelyard.rpc.calls.trace_context() == ()\n"
    script += "assert not any(name.startswith('opentelemetry') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
