"""Metrics as Prometheus reads them: after real calls, the numbers are those of the calls."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelyard.v1 import event_pb2, run_pb2, upload_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.parts.processes import free_port
from tests.parts.server import (
    Factory,
    LiveServer,
    environment,
    new_project,
    production_place,
    run_server_command,
)

Samples = dict[tuple[str, tuple[str, ...]], float]
_LINE = re.compile(r"^modelyard metrics (http://\S+/metrics)$", re.MULTILINE)
UPLOADS = "/modelyard.v1.UploadService"
ARTIFACTS = "/modelyard.v1.ModelArtifactService"
CREATE_RUN = "/modelyard.v1.RunService/CreateRun"


def addresses(server: LiveServer) -> list[str]:
    return _LINE.findall(server.log.read_text())


def scrape(address: str) -> Samples:
    """Every sample by its name and the values of its labels, in the order of their names."""
    with urllib.request.urlopen(address, timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def until(address: str, holds: Callable[[Samples], bool]) -> Samples:
    """The samples, once they are as they should be: gauges are updated with a delay."""
    deadline = time.monotonic() + 20
    while not holds(samples := scrape(address)):
        assert time.monotonic() < deadline, samples
        time.sleep(0.05)
    return samples


def make_run(server: LiveServer, **fields: str) -> None:
    run = run_pb2.Run(project=new_project(), **fields)
    server.stubs().runs.CreateRun(run_pb2.CreateRunRequest(run=run))


@pytest.fixture(params=["sqlite+disk", "postgresql+s3"])
def measured(request: pytest.FixtureRequest, live_server_factory: Factory) -> LiveServer:
    place, env = production_place(request) if request.param == "postgresql+s3" else (None, {})
    return live_server_factory("--metrics-port", "0", place=place, env=env).start()


def test_an_upload_and_a_download_are_counted_to_the_byte(measured: LiveServer) -> None:
    stubs = measured.stubs()
    chunks = fast_upload.random_chunks(3)
    project = new_project()
    version = fast_upload.log(stubs, project, "bert", {"a": chunks}, type="model").version
    fast_upload.log(stubs, project, "part", {"a": chunks[:1]}, type="model")  # the server has that chunk
    fast_upload.read(stubs, version.id, "a")
    found = scrape(addresses(measured)[0])

    size = fast_upload.CHUNK
    assert found["modelyard_requests_total", (f"{UPLOADS}/CreateUpload", "OK")] == 2
    assert found["modelyard_requests_total", (f"{ARTIFACTS}/CommitModelArtifact", "OK")] == 2
    assert found["modelyard_request_seconds_count", (f"{UPLOADS}/UploadChunks",)] == 1
    assert found["modelyard_request_seconds_sum", (f"{UPLOADS}/UploadChunks",)] > 0
    assert found["modelyard_asked_chunks_total", ("missing",)] == 3
    assert found["modelyard_asked_chunks_total", ("present",)] == 1
    assert found["modelyard_asked_bytes_total", ("missing",)] == 3 * size
    assert found["modelyard_asked_bytes_total", ("present",)] == size
    assert found["modelyard_packs_total", ()] == 1
    assert found["modelyard_pack_bytes_total", ()] == 3 * size
    for step in ("intent", "put", "publish"):
        assert found["modelyard_pack_seconds_count", (step,)] == 1
    assert found["modelyard_store_read_bytes_total", ()] == 3 * size
    # Messages are the bytes and a little more.
    assert 0 < found["modelyard_received_bytes_total", (f"{UPLOADS}/UploadChunks",)] - 3 * size < 1000
    assert 0 < found["modelyard_sent_bytes_total", (f"{ARTIFACTS}/DownloadFile",)] - 3 * size < 1000
    assert found["modelyard_upload_memory_bytes", ()] == 0
    assert found["modelyard_upload_memory_limit_bytes", ()] == 192 << 20
    assert found["modelyard_active_calls", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 1 << 20


def test_an_upload_that_the_server_cuts_is_counted_like_others(measured: LiveServer) -> None:
    stubs = measured.stubs()
    project = new_project()
    data = os.urandom(100_000)  # below the least size of a cut: one chunk
    for name in ("one", "two"):
        header = pb.VersionHeader(project=project, name=name, type="model")
        messages = [
            pb.UploadModelArtifactRequest(header=header),
            pb.UploadModelArtifactRequest(path="a"),
            pb.UploadModelArtifactRequest(data=data),
        ]
        stubs.artifacts.UploadModelArtifact(iter(messages), timeout=30)
    found = scrape(addresses(measured)[0])
    assert found["modelyard_asked_chunks_total", ("missing",)] == 1
    assert found["modelyard_asked_chunks_total", ("present",)] == 1
    assert found["modelyard_asked_bytes_total", ("present",)] == len(data)


def test_refused_calls_are_counted_by_their_status(measured: LiveServer) -> None:
    with pytest.raises(grpc.RpcError):
        make_run(measured, name="no/slashes")
    make_run(measured)
    found = scrape(addresses(measured)[0])
    assert found["modelyard_requests_total", (CREATE_RUN, "INVALID_ARGUMENT")] == 1
    assert found["modelyard_requests_total", (CREATE_RUN, "OK")] == 1
    assert found["modelyard_request_seconds_count", (CREATE_RUN,)] == 2


def test_a_call_whose_deadline_passed_is_counted_as_cancelled(live_server_factory: Factory) -> None:
    server = live_server_factory("--metrics-port", "0").start()
    make_run(server)
    with closing(sqlite3.connect(server.data / "modelyard.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nobody else writes meanwhile
        run = run_pb2.Run(project=new_project())
        with pytest.raises(grpc.RpcError) as caught:
            server.stubs().runs.CreateRun(run_pb2.CreateRunRequest(run=run), timeout=0.3)
        other.execute("ROLLBACK")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    late = ("modelyard_requests_total", (CREATE_RUN, "CANCELLED"))
    until(addresses(server)[0], lambda samples: samples.get(late) == 1)


def test_pools_report_how_long_work_waits_for_a_thread(measured: LiveServer) -> None:
    make_run(measured)
    found = scrape(addresses(measured)[0])
    on_sqlite = ("modelyard_pool_threads", ("database-writes",)) in found
    of_sqlite = {"database-lookups": 1, "database-reads": 4, "database-writes": 1}
    pools = of_sqlite if on_sqlite else {"database": 8}
    for pool, threads in (pools | {"store": 8, "hashing": 2, "decoding": 1}).items():
        assert found["modelyard_pool_threads", (pool,)] == threads
        assert found["modelyard_pool_queue", (pool,)] == 0
    writes = "database-writes" if on_sqlite else "database"
    assert found["modelyard_pool_wait_seconds_count", (writes,)] >= 1
    assert found["modelyard_transaction_seconds_count", ("write",)] >= 1


def test_open_streams_and_uploads_in_memory_are_reported(measured: LiveServer) -> None:
    stubs = measured.stubs()
    address = addresses(measured)[0]
    project = new_project()
    run = run_pb2.Run(project=project)
    stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run))
    watch = stubs.events.WatchEvents(event_pb2.WatchEventsRequest(project=project))
    next(watch)
    found = until(address, lambda samples: samples["modelyard_open_streams", ("watch",)] == 1)
    assert found["modelyard_active_calls", ()] == 1
    assert found["modelyard_stream_limit", ("watch",)] == 256
    watch.cancel()
    gone = ("modelyard_requests_total", ("/modelyard.v1.EventService/WatchEvents", "CANCELLED"))
    found = until(address, lambda samples: samples.get(gone) == 1)
    assert found["modelyard_open_streams", ("watch",)] == 0
    assert found["modelyard_active_calls", ()] == 0


def test_a_slow_step_shows_in_the_queue_the_threads_and_the_memory(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)  # an S3 store holds a pack in memory until it is put
    env = {**env, "MODELYARD_FAILPOINTS": "writer.before_put=sleep(5)"}
    server = live_server_factory("--metrics-port", "0", place=place, env=env).start()
    address = addresses(server)[0]
    stubs = server.stubs()
    chunks = fast_upload.random_chunks(2)
    upload_id = fast_upload.create(stubs, project=new_project())
    fast_upload.find_missing(stubs, upload_id, chunks)

    def messages() -> Iterator[upload_pb2.UploadChunksRequest]:
        for index, data in enumerate(chunks):
            yield upload_pb2.UploadChunksRequest(
                upload_id="" if index else upload_id, chunks=[fast_upload.message_chunk(data)], data=data
            )

    replies = stubs.uploads.UploadChunks(messages(), timeout=60)
    found = until(address, lambda samples: samples["modelyard_pool_busy_threads", ("store",)] == 1)
    found = until(address, lambda samples: samples["modelyard_upload_memory_bytes", ()] == 600_000)
    assert found["modelyard_open_streams", ("upload",)] == 1
    assert ("modelyard_pack_seconds_count", ("put",)) not in found
    assert [reply.durable_chunks for reply in replies][-1] == 2
    found = until(address, lambda samples: samples["modelyard_upload_memory_bytes", ()] == 0)
    assert found["modelyard_pool_busy_threads", ("store",)] == 0
    assert found["modelyard_pack_seconds_count", ("put",)] == 1


LOSES_TWICE = """
CREATE SEQUENCE attempts;
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF nextval('attempts') <= 2 THEN RAISE EXCEPTION 'lost' USING ERRCODE = 'serialization_failure'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER lose BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION lose();
"""


def test_transactions_that_run_again_are_counted(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    import psycopg

    place, env = production_place(request)
    server = live_server_factory("--metrics-port", "0", place=place, env=env).start()
    with psycopg.connect(place[1], autocommit=True) as connection:
        connection.execute(LOSES_TWICE)
    make_run(server)
    found = scrape(addresses(server)[0])
    assert found["modelyard_transaction_retries_total", ()] == 2
    assert found["modelyard_requests_total", (CREATE_RUN, "OK")] == 1


def test_each_worker_has_a_port_of_its_own(
    request: pytest.FixtureRequest, live_server_factory: Factory
) -> None:
    place, env = production_place(request)
    first = free_port()
    server = live_server_factory("--workers", "2", "--metrics-port", str(first), place=place, env=env).start()
    ports = [first, first + 1]
    assert sorted(addresses(server)) == [f"http://127.0.0.1:{port}/metrics" for port in ports]
    for _ in range(10):
        make_run(server)
    made = [
        scrape(address).get(("modelyard_requests_total", (CREATE_RUN, "OK")), 0)
        for address in addresses(server)
    ]
    assert sum(made) == 10
    # A worker that is started again answers on the port of the one before.
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    for address in addresses(server):
        _until_it_answers(address)
    assert server.stop() == 0


def _until_it_answers(address: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            scrape(address)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_metrics_port_0_is_refused_with_several_workers(tmp_path: Path) -> None:
    place = ("--database", "postgresql://nobody@127.0.0.1:9/none", "--store", str(tmp_path))
    refused = run_server_command("start", *place, "--workers", "2", "--metrics-port", "0")
    assert refused.returncode == 1
    assert "--metrics-port must not be 0 with --workers" in refused.stderr


def test_a_port_that_is_taken_is_an_error_that_says_so(live_server_factory: Factory, tmp_path: Path) -> None:
    port = str(live_server_factory().start().port)
    refused = run_server_command("start", "--data", str(tmp_path), "--port", "0", "--metrics-port", port)
    assert refused.returncode == 1
    assert f"--metrics-port: cannot listen on 127.0.0.1:{port}" in refused.stderr


@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("prometheus_client", ("--metrics-port", "0")),
        ("opentelemetry", ("--otel-endpoint", "http://127.0.0.1:4317")),
    ],
)
def test_a_library_that_is_missing_is_an_error_that_names_the_extra(
    library: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    script = f"import sys; sys.modules[{library!r}] = None; from modelyard_server.cli import server; server()"
    refused = subprocess.run(
        [sys.executable, "-c", script, "start", "--data", str(tmp_path), "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert refused.returncode == 1
    assert f"{options[0]} needs {library}" in refused.stderr
    assert 'pip install "modelyard[server,observability]"' in refused.stderr


def test_without_the_options_neither_library_is_imported(live_server_factory: Factory) -> None:
    server = live_server_factory(env={"PYTHONPROFILEIMPORTTIME": "1"}).start()
    make_run(server)
    log = server.log.read_text()
    assert "modelyard_server.observability.telemetry" in log  # imports are in the log
    assert "prometheus_client" not in log
    assert "opentelemetry" not in log
    assert not addresses(server)


def test_the_embedded_server_ignores_the_standard_variables(live_server_factory: Factory) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPROFILEIMPORTTIME": "1"}
    server = live_server_factory("--embedded", env=variables).start()
    make_run(server)
    assert "opentelemetry" not in server.log.read_text()


def test_unsupported_standard_variables_are_a_warning(live_server_factory: Factory) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    server = live_server_factory(env=variables).start()
    make_run(server)
    assert "no traces: traces are sent by OTLP over gRPC only" in server.log.read_text()
