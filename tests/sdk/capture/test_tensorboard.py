"""`sync_tensorboard`: what a program writes for TensorBoard is in the run's history."""

from __future__ import annotations

import math
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorboardX
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

import modelyard


class TorchWriter:
    """Writes as `torch.utils.tensorboard.SummaryWriter` does: by the package tensorboard."""

    def __init__(self, folder: str) -> None:
        self._writer = EventFileWriter(folder)
        self.flush, self.close = self._writer.flush, self._writer.close

    def add_scalar(self, tag: str, value: float, global_step: int | None = None) -> None:
        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, simple_value=value)])
        self._writer.add_event(event_pb2.Event(step=global_step or 0, summary=summary))

    def add_values(self, step: int, *values: Any) -> None:
        self._writer.add_event(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=values)))


Open = Callable[[str], Any]


@pytest.fixture(params=["torch", "tensorboardX"])
def open_writer(request: pytest.FixtureRequest, work: Path) -> Iterator[Open]:
    """Opens a writer in a folder; all are closed at the end."""
    opened: list[Any] = []

    def writer(folder: str) -> Any:
        opened.append(TorchWriter(folder) if request.param == "torch" else tensorboardX.SummaryWriter(folder))
        return opened[-1]

    yield writer
    for one in opened:
        one.close()


def rows(run: Any) -> list[dict[str, Any]]:
    """The history of a run, without what is in every row."""
    found = modelyard.Api().run(run.path).scan_history()
    return [{key: value for key, value in row.items() if not key.startswith("_")} for row in found]


def test_the_scalars_of_a_step_are_one_row_with_its_global_step(open_writer: Open) -> None:
    with modelyard.init(sync_tensorboard=True) as run:
        writer = open_writer("logs")
        for step in (0, 1000, 2000):
            writer.add_scalar("rollout/ep_rew_mean", step / 2, step)
            writer.add_scalar("train/loss", 0.5, step)
    assert rows(run) == [
        {"rollout/ep_rew_mean": step / 2, "train/loss": 0.5, "global_step": step} for step in (0, 1000, 2000)
    ]
    assert run.summary["global_step"] == 2000


def test_the_files_for_tensorboard_are_written_as_without_it(open_writer: Open) -> None:
    with modelyard.init(sync_tensorboard=True):
        writer = open_writer("logs")
        writer.add_scalar("loss", 0.5, 1)
        writer.flush()
    writer.add_scalar("after", 1.0, 2)
    writer.close()
    content = b"".join(path.read_bytes() for path in Path("logs").iterdir())
    assert b"loss" in content
    assert b"after" in content


def test_values_are_there_when_the_writer_is_flushed(open_writer: Open) -> None:
    run = modelyard.init(sync_tensorboard=True)
    writer = open_writer("logs")
    writer.add_scalar("loss", 0.5, 7)
    assert run.step == 0
    writer.flush()
    assert run.step == 1
    run.finish()
    assert rows(run) == [{"loss": 0.5, "global_step": 7}]


def test_values_without_a_step_are_rows_of_their_own(open_writer: Open) -> None:
    with modelyard.init(sync_tensorboard=True) as run:
        writer = open_writer("logs")
        for loss in (3.0, 2.0, 1.0):
            writer.add_scalar("loss", loss)
    assert [row["loss"] for row in rows(run)] == [3.0, 2.0, 1.0]


def test_a_writer_that_was_open_before_init_is_followed_and_not_after_the_end(open_writer: Open) -> None:
    writer = open_writer("logs")
    writer.add_scalar("loss", 9.0, 0)
    with modelyard.init(sync_tensorboard=True) as run:
        writer.add_scalar("loss", 1.0, 1)
    writer.add_scalar("loss", 9.0, 2)
    assert rows(run) == [{"loss": 1.0, "global_step": 1}]
    with modelyard.init() as other:
        writer.add_scalar("loss", 9.0, 3)
    assert rows(other) == []


def test_folders_beside_and_below_each_other_are_told_apart(open_writer: Open) -> None:
    with modelyard.init(sync_tensorboard=True) as run:
        for folder in ("logs", "logs/loss_a", "logs/b/c", "logs"):
            open_writer(folder).add_scalar("loss", 1.0, 5)
    names = sorted(name for row in rows(run) for name in row if name.endswith("loss"))
    assert names == ["b/c/loss", "loss", "loss", "loss_a/loss"]
    assert {"b/c/global_step": 5, "b/c/loss": 1.0} in rows(run)


def test_train_and_validation_are_always_named(open_writer: Open) -> None:
    with modelyard.init(sync_tensorboard=True) as run:
        open_writer("logs/train").add_scalar("loss", 1.0, 5)
        open_writer("logs/validation").add_scalar("loss", 2.0, 5)
    assert {name for row in rows(run) for name in row} == {
        "train/loss", "train/global_step", "validation/loss", "validation/global_step"
    }  # fmt: skip


def test_run_log_goes_on_beside_it_and_its_step_is_ignored(
    open_writer: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    with modelyard.init(sync_tensorboard=True) as run:
        writer = open_writer("logs")
        for step in (10, 20):
            writer.add_scalar("loss", 1.0, step)
            writer.flush()
            run.log({"mine": step}, step=step)
    assert rows(run) == [
        {"loss": 1.0, "global_step": 10}, {"mine": 10}, {"loss": 1.0, "global_step": 20}, {"mine": 20}
    ]  # fmt: skip
    assert capsys.readouterr().err.count("run.log's step is ignored") == 1


def test_scalars_as_tensors_are_logged_and_others_named_once(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value, tensor = summary_pb2.Summary.Value, tensor_pb2.TensorProto
    three = tensor_shape_pb2.TensorShapeProto(dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=3)])
    with modelyard.init(sync_tensorboard=True) as run:
        writer = TorchWriter("logs")
        writer.add_values(
            1,
            value(tag="float", tensor=tensor(dtype=1, float_val=[0.5])),
            value(tag="packed", tensor=tensor(dtype=2, tensor_content=b"\0\0\0\0\0\0\xf0\x3f")),
            value(tag="nan", simple_value=math.nan),
            value(tag="three", tensor=tensor(dtype=1, float_val=[1, 2, 3], tensor_shape=three)),
            value(tag="torn", tensor=tensor(dtype=1, tensor_content=b"\0")),
            value(tag="picture", image=summary_pb2.Summary.Image(height=1)),
        )
        writer.add_values(2, value(tag="weights", histo=summary_pb2.HistogramProto(min=1)))
        writer.close()
    (row,) = rows(run)
    assert math.isnan(row.pop("nan"))
    assert row == {"float": 0.5, "packed": 1.0, "global_step": 1}
    assert capsys.readouterr().err.count("sync_tensorboard logs scalars only") == 1


def test_several_threads_write_at_once(open_writer: Open) -> None:
    with modelyard.init(sync_tensorboard=True) as run:
        writers = [open_writer(f"logs/{number}") for number in range(4)]

        def write(number: int) -> None:
            for step in range(100):
                writers[number].add_scalar(f"of{number}", step, step)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = rows(run)
    for number in range(4):
        ours = [value for row in found for name, value in row.items() if name.endswith(f"of{number}")]
        assert ours == list(range(100))


def test_without_it_nothing_is_followed_and_the_setting_turns_it_on(open_writer: Open) -> None:
    with modelyard.init() as off:
        open_writer("logs").add_scalar("loss", 1.0, 1)
    with modelyard.init(settings=modelyard.Settings(sync_tensorboard=True)) as on:
        open_writer("logs").add_scalar("loss", 2.0, 1)
    assert rows(off) == []
    assert rows(on) == [{"loss": 2.0, "global_step": 1}]


def test_a_program_without_tensorboard_is_told(work: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith("tensorboard"):
            packages.joinpath(entry.name).symlink_to(entry)
    code = (
        f"import sys; sys.path += {[str(Path(modelyard.__file__).parents[1]), str(packages)]!r}\n"
        "import modelyard; run = modelyard.init(sync_tensorboard=True); run.log({'x': 1}); run.finish()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert "neither tensorboard, tensorboardX nor TensorFlow is installed" in done.stderr
    assert "Synced 1 metric row" in done.stderr
