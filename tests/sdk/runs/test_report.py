"""What a run and the command line show of nested values, and what the last line of a run counts."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelyard
from modelyard.host.terminal import sparkline
from modelyard.runs.report import closing_lines, short_text
from tests.clients.commands import run_command


def test_nested_values_are_named_as_metrics_are() -> None:
    assert (
        short_text({"val": {"loss": 0.2, "by": {"class": 1}}, "lr": 1e-4})
        == "val.loss=0.2, val.by.class=1, lr=0.0001"
    )
    assert short_text({"notes": {}}) == "notes={}"
    lines = list(closing_lines("n", "e/p/r", {}, {"val": {"loss": 0.25, "acc": 0.5}}, [(1, "link")]))
    assert [line.split() for line in lines[1:3]] == [["val.acc", "0.5"], ["val.loss", "0.25"]]


def test_truncated_lists_are_marked() -> None:
    text = short_text({f"metric_{number}": number for number in range(20)})
    assert (len(text), text[-1]) == (40, "…")


def test_ls_and_show_name_nested_values_as_metrics_are(embedded: Path) -> None:
    with modelyard.init(project="nested", config={"model": {"name": "mlp", "layers": 2}, "lr": 0.5}) as run:
        run.summary["val"] = {"loss": 0.2}
        artifact = modelyard.Artifact("m", "model", metadata={"scores": {"f1": 0.9}})
        with artifact.new_file("w.txt") as file:
            file.write("w")
        run.log_artifact(artifact)
    listed = run_command("ls", "nested").stdout
    assert " val.loss=0.2" in listed
    text = run_command("show", run.path).stdout
    for line in ("model.name = mlp", "model.layers = 2", "lr = 0.5", "val.loss = 0.2"):
        assert line in text
    assert "scores.f1=0.9" in run_command("ls", "nested/m").stdout
    assert "scores.f1 = 0.9" in run_command("show", "nested/m:v0").stdout


def test_the_last_line_counts_versions_that_were_made(
    embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = modelyard.init(project="counted")
    for text in ("a", "b", "a", "a"):
        (embedded / "m.bin").write_text(text)
        run.log_model("m.bin", name="m")
    capsys.readouterr()
    run.finish()
    assert (
        "Synced 0 metric rows, 2 artifact versions, 0 links; 2 versions unchanged\n"
        in capsys.readouterr().err
    )
    with modelyard.init(project="counted") as another:
        (embedded / "m.bin").write_text("c")
        another.log_model("m.bin", name="m")
    assert "1 artifact version, 0 links\n" in capsys.readouterr().err


def test_a_curve_with_fewer_bars_than_points_keeps_its_peaks() -> None:
    points = [0.0] * 500
    points[123], points[321] = 9.0, -9.0
    bars = sparkline(points, 10)
    assert bars == "▅▅█▅▅▅▁▅▅▅"
    assert len(sparkline([1e308, -1e308, *map(float, range(100))], 7)) == 7
    assert sparkline([1.0, float("nan"), 2.0], 10) == "▁█"
