"""What the documents promise: their examples run, their tables match the code."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import grpc
import pytest

from modelyard import errors
from modelyard.configuration import settings
from modelyard.v1 import error_pb2
from modelyard_server.cli import start
from modelyard_server.observability import telemetry
from tests.parts.s3 import S3Server
from tests.parts.server import run_server_command

ROOT = Path(__file__).parents[2]
CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_EXAMPLE = re.compile(r"<!-- runs: (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)


def _examples(document: Path, name: str) -> list[tuple[str, str]]:
    every = _EXAMPLE.findall(document.read_text())
    found = [(language, code) for group, language, code in every if group == name]
    assert found, f"{document.name} has no examples of {name}"
    return found


def _command(language: str, code: str) -> list[str]:
    if language == "python":
        return [sys.executable, "-c", code]
    assert language == "console"
    return ["bash", "-euo", "pipefail", "-c", code]


def _run_in_order(document: Path, name: str, folder: Path) -> None:
    """Runs the examples one after the other in one folder, on an embedded server of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MODELYARD_")} | {
        "MODELYARD_DATA_DIR": str(folder / "data"),
        "MODELYARD_CACHE_DIR": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "error",
    }
    for language, code in _examples(document, name):
        done = subprocess.run(
            _command(language, code), cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_the_tour_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    _run_in_order(ROOT / "README.md", "tour", tmp_path)
    assert (tmp_path / "downloaded" / "model.bin").stat().st_size == 700_000


@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("artifacts.md", "artifacts"),
        ("coming-from-wandb.md", "boosting"),
        ("coming-from-wandb.md", "exec"),
        ("media.md", "media"),
        ("references.md", "references"),
        ("registered-models.md", "models"),
        ("runs.md", "reading"),
        ("searching.md", "searching"),
        ("watching.md", "watching"),
    ],
)
def test_the_examples_of_a_guide_run_one_after_the_other(document: str, name: str, tmp_path: Path) -> None:
    _run_in_order(ROOT / "docs" / document, name, tmp_path)


def test_the_examples_of_buckets_run_against_a_real_store(
    minio_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = minio_server.client()
    if not bucket.bucket_exists(bucket_name="weights"):
        bucket.make_bucket(bucket_name="weights")
    for name, body in {"config.json": b"{}", "model.bin": b"weights"}.items():
        bucket.put_object(
            bucket_name="weights",
            object_name=f"bert/large/{name}",
            data=io.BytesIO(body),
            length=len(body),
        )
    monkeypatch.setenv("AWS_ENDPOINT_URL", minio_server.endpoint)
    _run_in_order(ROOT / "docs" / "references.md", "buckets", tmp_path)


_REASONS = {
    name: " ".join(comment.replace("//", " ").split())
    for comment, name in re.findall(
        r"((?:  // .*\n)+)  ([A-Z_]+) = [1-9]", (ROOT / "proto/modelyard/v1/error.proto").read_text()
    )
}
"""The values of ErrorReason, and what their comments say."""


def test_the_reasons_in_the_protos_match_the_code() -> None:
    expected = {}
    for reason, kind in errors.BY_REASON.items():
        if reason not in errors.CLIENT_REASONS:
            retry = "; may be retried" if kind.retry_after is not None else ""
            expected[reason] = " ".join(f"{CODES[kind.code]}{retry}. {kind.__doc__}".split())
    assert expected == _REASONS
    assert set(error_pb2.ErrorReason.keys()) == {"ERROR_REASON_UNSPECIFIED", *expected}


def _rows_of_errors() -> list[str]:
    rows = ["| reason | status | class | retry | when |", "|---|---|---|---|---|"]
    for reason in sorted(_REASONS):
        kind = errors.BY_REASON[reason]
        retry = "yes" if kind.retry_after is not None else "no"
        sentence = " ".join((kind.__doc__ or "").split())
        rows.append(f"| `{reason}` | {CODES[kind.code]} | `{kind.__name__}` | {retry} | {sentence} |")
    return rows


def test_the_table_of_errors_matches_the_code() -> None:
    assert "\n".join(_rows_of_errors()) in (ROOT / "docs" / "errors.md").read_text()


def _row_of_metric(metric: telemetry.Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


def test_the_table_of_metrics_matches_the_code() -> None:
    rows = "\n".join(_row_of_metric(metric) for metric in telemetry.METRICS)
    assert f"|---|---|---|---|\n{rows}\n\n" in (ROOT / "docs" / "operations.md").read_text()


def test_help_lists_every_option_of_start_with_its_variable() -> None:
    help_ = run_server_command("start", "--help").stdout
    for option in start.params:
        assert isinstance(option, click.Option)
        assert max(option.opts, key=len) in help_
        assert f"env var: {option.envvar}" in " ".join(help_.split())


@pytest.mark.parametrize("suffix", sorted(settings.FIELDS.values()))
def test_every_setting_is_in_the_readme(suffix: str) -> None:
    assert f"`MODELYARD_{suffix}`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=str)
def test_links_between_documents_lead_to_files_that_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target
