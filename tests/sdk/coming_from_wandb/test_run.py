"""Members of W&B's `Run` that say where it is, restore files, and take what libraries pass."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

import modelyard as wandb
from tests.clients.waiting import until


def test_a_run_says_where_it_is(embedded: Path) -> None:
    with wandb.init(project="p", entity="e") as run:
        assert run.project_url == "modelyard open e/p"
        assert run.sync_dir == run.settings.sync_dir == str(Path(run.dir).parent)
        assert Path(run.sync_dir).name.endswith(f"-{run.id}")
        assert (run.sweep_id, run.sweep_url) == (None, None)
        assert run.name in run.to_html(height=10)
        assert run.display() is False
        run._label(code="transformers_trainer")
        run._label(repo="x")
        wandb.pin_config_keys(["lr"])


def test_a_resumed_run_knows_its_first_step(embedded: Path) -> None:
    with wandb.init(project="p", id="one") as run:
        assert run.starting_step == 0
        for _ in range(3):
            run.log({"a": 1})
    with wandb.init(project="p", id="one", resume="must") as run:
        run.log({"a": 1})
        assert (run.starting_step, run.step) == (3, 4)


def test_the_static_config_is_a_copy_that_cannot_change(embedded: Path) -> None:
    with wandb.init(project="p", config={"lr": 0.1, "model": {"width": 8}}) as run:
        static = run.config_static
        run.config.update({"lr": 0.2}, allow_val_change=True)
        assert (static.lr, static["model"], dict(static)) == (
            0.1,
            {"width": 8},
            {"lr": 0.1, "model": {"width": 8}},
        )
        with pytest.raises(AttributeError, match="config_static"):
            static.lr = 3
        with pytest.raises(AttributeError, match="config_static"):
            static["lr"] = 3
        with pytest.raises(AttributeError, match="width"):
            _ = static.width


def test_status_counts_rows_until_they_are_sent(embedded: Path) -> None:
    with wandb.init(project="p") as run:
        assert run.status().sync_items_total == 0
        for _ in range(5):
            run.log({"a": 1})
        until(lambda: run.status().sync_items_pending == 0 and run.status().sync_time)
        status = run.status()
        assert status.sync_items_total == 5
        assert isinstance(status.sync_time, datetime.datetime)
    with wandb.init(project="p", mode="offline") as run:
        run.log({"a": 1})
        assert (run.status().sync_items_total, run.status().sync_items_pending) == (1, 1)


def test_mark_preempting_sends_what_was_logged(embedded: Path) -> None:
    with wandb.init(project="p") as run:
        run.log({"a": 1})
        wandb.mark_preempting()
        assert wandb.Api().run(run.path).lastHistoryStep == 0
        assert wandb.Api().run(run.path).state == "running"


def test_text_can_be_added_to_the_console(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with wandb.init(project="p") as run:
        run.write_logs("from a library\n")
    assert "from a library" not in capsys.readouterr().out
    lines = [line.text for line in wandb.Api().run(run.path).console_lines()]
    assert "from a library" in lines


def test_restore_brings_a_file_back(embedded: Path) -> None:
    Path("weights.txt").write_text("first")
    with wandb.init(project="p", entity="e") as run:
        run.save("weights.txt", policy="now")
    earlier = run.path
    with pytest.raises(ValueError, match="run_path"):
        wandb.restore("weights.txt")
    with wandb.restore("weights.txt", earlier, root="here") as file:
        assert file.read() == "first"
    Path("here/weights.txt").write_text("changed")
    with wandb.restore("weights.txt", earlier, root="here") as file:
        assert file.read() == "changed"
    with wandb.restore("weights.txt", earlier, replace=True, root="here") as file:
        assert file.read() == "first"
    assert wandb.restore("no.txt", earlier) is None
    with wandb.init(project="p", entity="e") as run:
        with run.restore("weights.txt", earlier.split("/")[-1]) as file:
            assert file.name == str(Path(run.dir, "weights.txt"))
        with wandb.restore("weights.txt") as file:
            assert file.read() == "first"


def test_restore_offline_needs_the_server(embedded: Path) -> None:
    with wandb.init(project="p", mode="offline") as run:
        Path(run.dir, "kept.txt").write_text("local")
        with run.restore("kept.txt") as file:
            assert file.read() == "local"
        with pytest.raises(RuntimeError, match="offline"):
            run.restore("other.txt")


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
@pytest.mark.parametrize("field", ["name", "notes", "tags"])
def test_a_finished_run_refuses_what_it_could_not_send(embedded: Path, mode: str, field: str) -> None:
    run = wandb.init(project="p", mode=mode)
    before = getattr(run, field)
    run.join()
    with pytest.raises(wandb.UsageError, match=f"finished: {field}"):
        setattr(run, field, "late")
    assert getattr(run, field) == before


def test_calls_of_older_releases_are_there(embedded: Path) -> None:
    with wandb.init(project="p", entity="e") as run:
        assert run.project_name() == "p"
        assert (run.get_url(), run.get_project_url()) == (run.url, run.project_url)
        assert run.get_sweep_url() is None


def test_a_disabled_run_takes_calls_without_their_arguments(embedded: Path) -> None:
    with wandb.init(mode="disabled") as run:
        run.alert("title")
        run.alert()  # type: ignore[call-arg]  # as a script may do while it is disabled
        assert run.restore() is None  # type: ignore[call-arg]
        assert run.save() == []  # type: ignore[call-arg]
