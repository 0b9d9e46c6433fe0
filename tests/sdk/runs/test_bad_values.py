"""Of values that cannot be stored in part, a run keeps the rest."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelyard
from modelyard import errors
from modelyard.api import PublicRun
from modelyard.v1 import run_pb2 as pb

BAD_POINTS: dict[str, tuple[str, Any]] = {
    "a tab in its name": ("a\tb", 1.0),
    "a name of no bytes": ("", 1.0),
    "a name over 1,024 bytes": ("é" * 600, 1.0),
    "half of a surrogate pair in its name": ("a\ud800", 1.0),
    "a NUL in its value": ("bad", "x\0y"),
    "half of a surrogate pair in its value": ("bad", "x\udc80"),
    "a list of 200,001 elements": ("bad", list(range(200_001))),
    "a text of a mebibyte": ("bad", "x" * (1 << 20)),
    "a list that holds itself": ("bad", []),
    "a value that cannot be read": ("bad", None),
}
BAD_POINTS["a list that holds itself"][1].append(BAD_POINTS["a list that holds itself"][1])


class Broken:
    """An object whose own code fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


BAD_POINTS["a value that cannot be read"] = ("bad", Broken())


def _stored(run: Any) -> PublicRun:
    return modelyard.Api().run(run.path)


def _rows(run: Any) -> Iterator[dict[str, Any]]:
    return (
        {key: value for key, value in row.items() if not key.startswith("_")}
        for row in _stored(run).scan_history()
    )


def _log_unchecked(run: Any, value: Any) -> None:
    """Logs a value past every check, as one would be that only a newer server refuses."""
    with run._history.lock:
        run._history._commit({"good": value})


@pytest.mark.parametrize("why", BAD_POINTS)
def test_a_bad_metric_loses_nothing_but_itself(
    work: Path, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = BAD_POINTS[why]
    run = modelyard.init(config={"lr": 1})
    for step in range(20):
        run.log({"good": step, name: value, "other": {"good": 0.5, name or "\t": value}})
    run.finish()
    assert list(_rows(run)) == [{"good": step, "other.good": 0.5} for step in range(20)]
    assert _stored(run).summary["good"] == 19
    assert _stored(run).state == "finished"
    said = capsys.readouterr().err
    assert said.count("cannot be stored and are dropped") <= 2  # once for each of the two names
    assert repr(name[:100]) in said
    assert "40 values of the run were dropped" in said


def test_points_with_reserved_names_are_dropped(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = modelyard.init()
    run.log({"_step": 7, "_mine": {"a": 1}, "good": 1, "a": {"_b": 2}})
    run.finish()
    assert list(_rows(run)) == [{"good": 1, "a._b": 2}]
    assert _stored(run).summary["_step"] == 0
    said = capsys.readouterr().err
    assert "'_step'" in said
    assert "'_mine.a'" in said


@pytest.mark.parametrize("why", BAD_POINTS)
def test_a_bad_entry_of_config_or_summary_loses_nothing_but_itself(
    work: Path, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = BAD_POINTS[why]
    if name == "a\tb":
        name = "a\0b"  # a tab is allowed here
    run = modelyard.init(config={"lr": 1, name: value})
    run.config["later"] = 2
    run.config.update({name: value, "last": 3}, allow_val_change=True)
    run.summary[name] = value
    run.summary["best"] = 4
    run.log({"good": 5})
    assert run.config[name] is value, "the program itself goes on with what it set"
    run.finish()
    assert _stored(run).config == {"lr": 1, "later": 2, "last": 3}
    summary = {key: item for key, item in _stored(run).summary.items() if not key.startswith("_")}
    assert summary == {"best": 4, "good": 5}
    said = capsys.readouterr().err
    assert f"config {name[:100]!r} cannot be stored" in said
    assert f"summary {name[:100]!r} cannot be stored" in said


def test_a_map_that_contains_itself_does_not_break_the_end_of_a_run(work: Path) -> None:
    ring: dict[str, Any] = {"x": 1}
    ring.update(first=ring, second={"third": ring})
    deep: dict[str, Any] = {}
    for _ in range(2_000):
        deep = {"inner": deep}
    run = modelyard.init(config={"ring": ring})
    run.summary.update({"ring": ring, "deep": deep, "good": 1})
    assert "good = 1" in run._repr_html_()
    run.finish()
    assert _stored(run).state == "finished"
    assert _stored(run).summary["good"] == 1


def test_a_summary_that_grows_too_large_loses_no_rows(work: Path) -> None:
    run = modelyard.init()
    for step in range(14):
        run.log({"good": step, f"part{step}": "x" * 250_000})
    run.finish()
    assert [row.keys() for row in _rows(run)] == [{"good", f"part{step}"} for step in range(14)]
    kept = [key for key in _stored(run).summary if key.startswith("part")]
    assert 8 <= len(kept) <= 12, "as many as a summary has room for"
    assert _stored(run).summary["good"] == 13


def test_a_field_that_the_server_refuses_does_not_lose_the_others(work: Path) -> None:
    run = modelyard.init()
    run.notes = "x" * 100_000  # more than 64 KiB
    run.tags = ["fine"]
    run.name = "renamed"
    run.config["lr"] = 0.1
    run.finish()
    stored = _stored(run)
    assert (stored.name, stored.tags, stored.config) == ("renamed", ["fine"], {"lr": 0.1})


def test_a_batch_that_is_refused_loses_only_its_bad_row(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = modelyard.init()
    for step in range(1000):
        run.log({"good": step, **({"rare": step} if step % 10 == 0 else {})})
        if step == 613:
            _log_unchecked(run, functools.reduce(lambda inner, _: [inner], range(22), [[[[[]]]]] * 2))
    run.finish()
    assert [row["good"] for row in _rows(run)] == list(range(1000))
    assert [row["rare"] for row in _rows(run) if "rare" in row] == list(range(0, 1000, 10))
    assert "1 row of the run was dropped" in capsys.readouterr().err


def test_a_row_that_cannot_become_a_message_does_not_end_the_sender(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = modelyard.init()
    run.log({"good": 0})
    _log_unchecked(run, "\ud800")
    run.log({"good": 2})
    run._tracking.flush()
    run.log({"good": 3})
    run.finish()
    assert [row["good"] for row in _rows(run)] == [0, 2, 3]
    assert _stored(run).state == "finished"
    assert _stored(run).summary["good"] == 3
    assert "1 row of the run was dropped" in capsys.readouterr().err


def test_rows_of_a_run_that_was_deleted_do_not_wait_for_ever(work: Path) -> None:
    run = modelyard.init()
    run.log({"a": 1})
    run._tracking.flush()
    run._tracking.connection.runs.DeleteRun(pb.DeleteRunRequest(id=run._record.id))
    run.log({"a": 2})
    run.finish()


BIG = {
    "the largest of 64 bits": ((1 << 63) - 1, (1 << 63) - 1),
    "the smallest of 64 bits": (-(1 << 63), -(1 << 63)),
    "one more": (1 << 63, "9223372036854775808"),
    "one less": (-(1 << 63) - 1, "-9223372036854775809"),
    "a seed of torch": (0xFEDCBA9876543210, "18364758544493064720"),
    "numpy's uint64": (np.uint64((1 << 64) - 1), "18446744073709551615"),
    "a hundred bits": (1 << 100, "1267650600228229401496703205376"),
    "more digits than Python writes": (10**5000, hex(10**5000)),
}


@pytest.mark.parametrize("which", BIG)
def test_whole_numbers_keep_every_digit_wherever_they_are_given(
    work: Path, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given, kept = BIG[which]
    run = modelyard.init(config={"seed": given, "deep": {"seeds": [given]}})
    run.log({"seed": given, "deep": {"seed": given}})
    run.summary["chosen"] = given
    artifact = modelyard.Artifact(f"m{abs(hash(which))}", "model", metadata={"seed": given})
    run.log_artifact(artifact).wait()
    run.finish()
    stored = _stored(run)
    assert (stored.config["seed"], stored.config["deep"]) == (kept, {"seeds": [kept]})
    assert (stored.summary["seed"], stored.summary["chosen"]) == (kept, kept)
    assert stored.summary["deep"] == {"seed": kept}
    assert list(_rows(run)) == [{"seed": kept, "deep.seed": kept}]
    assert artifact.metadata["seed"] == kept
    said = capsys.readouterr().err
    for name in ("config.seed", "config.deep.seeds", "summary.chosen", "metadata.seed", "seed", "deep.seed"):
        warned = f"WARNING {name}: a whole number beyond 64 bits is stored as text" in said
        assert warned == isinstance(kept, str), (name, said)


def test_metadata_that_cannot_be_stored_is_refused_where_it_is_given(work: Path) -> None:
    for value in ("x\0y", "x\ud800", ["y"] * 200_001, Broken()):
        with pytest.raises(ValueError, match=r"^metadata\.bad"):
            modelyard.Artifact("a", "model", metadata={"good": 1, "bad": value})
    with modelyard.init() as run:
        stored = _stored(run)
        stored.summary["bad"] = "x\0y"
        with pytest.raises(ValueError, match=r"summary\.bad"):
            stored.update()


def test_a_step_that_is_no_whole_number_is_reported_and_loses_no_row(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = modelyard.init()
    for step in (6.7, 7.0, np.float64(8.0), np.int64(9), float("nan"), "soon", 1 << 60):
        run.log({"a": str(step)}, step=step)  # type: ignore[arg-type]  # that is the point
    run.log({"a": "last"}, step=20)
    run.finish()
    steps = [(row["_step"], row["a"]) for row in _stored(run).scan_history()]
    assert steps == [(6, "6.7"), (7, "7.0"), (8, "8.0"), (9, "nan"), (10, "soon"), (20, "last")]
    said = capsys.readouterr().err
    assert "step 6.7 is not a whole number: 6 is used" in said
    assert "step nan is not a number" in said
    assert "larger than 2^53" in said
    assert "step 7.0" not in said


def test_a_command_line_that_cannot_be_stored_does_not_stop_init(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train\udce9.py", "x\udce9", *["y" * 1000] * 2000])
    run = modelyard.init()
    run.finish()
    facts = _stored(run).metadata
    assert facts["program"] == "train?.py"
    assert facts["args"][0] == "x?"
    assert facts["args"][-1].endswith("more")


def test_wrong_calls_are_still_errors(work: Path) -> None:
    run = modelyard.init()
    with pytest.raises(TypeError):
        run.log({1: 2})  # type: ignore[dict-item]  # that is the point
    run.finish()
    with pytest.raises(errors.UsageError):
        run.log({"a": 1})


def test_an_entry_that_cannot_be_stored_may_be_set_again_to_an_equal_one(work: Path) -> None:
    with modelyard.init() as run:
        run.config.update({"big": list(range(200_001))})
        run.config.update({"big": list(range(200_001))})
        with pytest.raises(errors.ConfigError) as changed:
            run.config.update({"big": list(range(200_002))})
        assert len(str(changed.value)) < 1_000
