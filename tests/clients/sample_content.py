"""Something of every kind that a server stores, in one project."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from modelyard.v1 import metric_pb2, registered_model_pb2, run_console_pb2, run_file_pb2, run_pb2
from modelyard.v1 import model_artifact_pb2 as pb
from tests.clients import fast_upload
from tests.parts.server import Stubs

ROWS = 5_000
"""So many rows of metrics that they are packed."""


class Sample(NamedTuple):
    """What was stored: `bert:v0`, and the chunks of its files."""

    version: pb.ModelArtifactVersion
    files: dict[str, list[bytes]]


def fill(stubs: Stubs, project: str) -> Sample:
    """Logs `bert`: v0 with `w` of three chunks and `a`; v1 with `a` and a reference; v2, deleted.

    Links v0 into `Churn` as v0, deletes a link of v1; a run has metrics, lines and a file.
    """
    run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project=project))).run
    chunks, small = fast_upload.random_chunks(3), fast_upload.random_chunks(1)
    files = {"a": small, "w": chunks}
    version = fast_upload.log(
        stubs, project, "bert", files, type="model", aliases=["best"], tags=["t"]
    ).version
    second = _with_reference(stubs, project, small)
    third = fast_upload.log(stubs, project, "bert", {"a": small, "b": small}, type="model").version
    stubs.artifacts.DeleteModelArtifactVersion(pb.DeleteModelArtifactVersionRequest(id=third.id, force=True))
    for linked in (version, second):
        made = stubs.registry.LinkModelArtifactVersion(
            registered_model_pb2.LinkModelArtifactVersionRequest(
                id=linked.id, target_ref=f"{project}/Churn", aliases=["production"]
            )
        ).version
    stubs.registry.DeleteRegisteredModelVersion(
        registered_model_pb2.DeleteRegisteredModelVersionRequest(id=made.id, force=True)
    )
    _log_run(stubs, run)
    return Sample(version, files)


def _with_reference(stubs: Stubs, project: str, small: list[bytes]) -> pb.ModelArtifactVersion:
    upload = fast_upload.create(stubs, project=project)
    fast_upload.find_missing(stubs, upload, small)
    entries = [fast_upload.entry("a", small), pb.ManifestEntry(path="r", reference_uri="s3://bucket/key")]
    header = pb.VersionHeader(project=project, name="bert", type="model")
    version: pb.ModelArtifactVersion = fast_upload.commit(stubs, upload, header, entries).version
    return version


def _log_run(stubs: Stubs, run: run_pb2.Run) -> None:
    for sequence in range(1, 6):
        steps = range((sequence - 1) * ROWS // 5, sequence * ROWS // 5)
        batch = metric_pb2.MetricBatch(steps=steps, timestamps=[1000.0 + step for step in steps])
        batch.columns.add(key="loss", doubles=[1 / (1 + step) for step in steps])
        stubs.metrics.LogMetrics(
            metric_pb2.LogMetricsRequest(run_id=run.id, writer="w", sequence=sequence, batch=batch)
        )
    lines = [run_console_pb2.ConsoleLine(number=number, text=f"line {number}") for number in range(1, 4)]
    for line in lines:
        line.write_time.GetCurrentTime()
    stubs.console.LogConsoleLines(
        run_console_pb2.LogConsoleLinesRequest(run_id=run.id, writer="w", sequence=1, lines=lines)
    )

    def messages() -> Iterator[run_file_pb2.UploadRunFileRequest]:
        header = run_file_pb2.RunFileHeader(run_id=run.id, path="notes.txt")
        yield run_file_pb2.UploadRunFileRequest(header=header)
        yield run_file_pb2.UploadRunFileRequest(data=b"notes of a run")

    stubs.run_files.UploadRunFile(messages())
    stubs.runs.FinishRun(run_pb2.FinishRunRequest(id=run.id, exit_code=0))
