"""Config, summary and metadata of runs: whatever the size, reads see every change, and changes are cheap."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard.contract.limits import RUN_VALUE_BYTES
from modelyard.v1 import metric_pb2, run_pb2
from modelyard_server.db.tables import Base, File, MetricLog, Run, RunFile, RunMap
from modelyard_server.domain import fields
from modelyard_server.domain.runs import console, metrics, removals, run_lists, run_maps, runs
from modelyard_server.domain.runs.console_segments import Line
from modelyard_server.domain.runs.metrics import Batch
from modelyard_server.domain.runs.run_maps import Attempt, Change
from modelyard_server.domain.runs.runs import RunChanges, RunSpec
from modelyard_server.domain.series import packing
from modelyard_server.rpc.wire import metric_batches
from modelyard_server.rpc.wire.convert import json_to_values
from tests.inprocess.registry import ENTITY, Registry


def make(registry: Registry, resume: str = "never", **spec: Any) -> Run:
    return registry.write(runs.create, RunSpec(ENTITY, "p", **spec), resume)[0].run


def maps_of(registry: Registry, run: Run, attempt: int = 1) -> Mapping[str, Mapping[str, Any]]:
    at = Attempt(run.id, attempt)
    return registry.read(lambda session, _: run_maps.read(session, [at])[at])


def pieces(registry: Registry, run: Run, part: str) -> list[int]:
    """The sizes of a map's pieces."""

    def read(session: Session, _: Any) -> list[int]:
        query = select(RunMap.size).where(RunMap.run_id == run.id, RunMap.part == part)
        return list(session.scalars(query.order_by(RunMap.piece)))

    return registry.read(read)


def put(registry: Registry, run: Run, part: str, entries: Mapping[str, Any], **more: Any) -> None:
    registry.write(runs.update, run.id, RunChanges(maps={part: Change(entries, **more)}))


def found(registry: Registry, filter_: str) -> int:
    asked = {"filter_": filter_, "order_by": "", "page_size": 0, "page_token": ""}
    return len(registry.read(run_lists.page, ENTITY, "p", **asked, shown=run_lists.Shown(1 << 20)).views)


@pytest.mark.parametrize("seed", range(3))
def test_maps_are_what_a_dict_would_be_after_the_same_changes(registry: Registry, seed: int) -> None:
    chance = random.Random(seed)
    run = make(registry)
    model: dict[str, dict[str, Any]] = {part: {} for part in run_maps.PARTS}
    for _ in range(60):
        part = chance.choice(run_maps.PARTS)
        entries = {
            f"k{chance.randrange(30)}": chance.choice(
                [1, 1.0, True, None, "x" * chance.choice([1, 3000]), [{"a": 1}]]
            )
            for _ in range(chance.randrange(1, 6))
        }
        how = chance.random()
        if how < 0.05:
            put(registry, run, part, entries, whole=True)
            model[part] = {}
        elif how < 0.2:
            gone = [
                f"k{number}" for number in range(30) if chance.random() < 0.2 and f"k{number}" not in entries
            ]
            put(registry, run, part, entries, removed=gone)
            model[part] = {key: value for key, value in model[part].items() if key not in gone}
        else:
            put(registry, run, part, entries)
        model[part] |= entries
        assert repr({p: dict(sorted(m.items())) for p, m in maps_of(registry, run).items()}) == repr(
            {p: dict(sorted(m.items())) for p, m in model.items()}
        )
        assert all(len(pieces(registry, run, each)) <= run_maps.PIECES for each in run_maps.PARTS)


def test_a_change_of_a_large_map_writes_what_changes(registry: Registry) -> None:
    large = {f"layer{number}.weight.norm": number / 7 for number in range(10_000)}
    run = make(registry, maps={"summary": large})
    (whole,) = pieces(registry, run, "summary")
    assert whole > 300_000
    written = 0
    for number in range(100):
        before = pieces(registry, run, "summary")
        put(registry, run, "summary", {"loss": number})
        after = pieces(registry, run, "summary")
        written += after[-1] if len(after) == len(before) + 1 else sum(after)
    assert written < 5 * whole
    assert maps_of(registry, run)["summary"] == {**large, "loss": 99}


def test_filters_see_every_change_of_a_map_in_pieces(registry: Registry) -> None:
    run = make(registry, maps={"summary": {f"k{number}": "y" * 100 for number in range(500)}})
    put(registry, run, "summary", {"loss": 0.5, "text": "x" * 300, "nested": {"a": 1}})
    assert len(pieces(registry, run, "summary")) == 2
    assert [found(registry, f"summary.{what}") for what in ("loss = 0.5", "nested.a = 1", "loss > 0.5")] == [
        1,
        1,
        0,
    ]
    put(registry, run, "summary", {"loss": 0.6, "text": "z" * 300, "nested": 3})
    assert [found(registry, f"summary.{what}") for what in ("loss = 0.5", "nested.a = 1", "loss > 0.5")] == [
        0,
        0,
        1,
    ]
    assert [found(registry, f'summary.text : "{letter * 299}"') for letter in "xz"] == [0, 1]


def test_filters_see_every_change_of_a_map_that_is_not_indexed(registry: Registry) -> None:
    run = make(registry, maps={"summary": {f"k{number}": number for number in range(1_000)}})
    put(registry, run, "summary", {f"m{number}": number for number in range(1_000)})
    assert found(registry, "summary.k7 = 7") == found(registry, "summary.m7 = 7") == 1
    put(registry, run, "summary", {"k7": 8})
    assert (found(registry, "summary.k7 = 7"), found(registry, "summary.k7 = 8")) == (0, 1)
    put(registry, run, "summary", {"k7": 8}, whole=True)
    assert (found(registry, "summary.m7 = 7"), found(registry, "summary.k7 = 8")) == (0, 1)


def test_a_value_that_is_too_large_is_named_and_changes_nothing(registry: Registry) -> None:
    run = make(registry, maps={"config": {"lr": 0.1}})
    with pytest.raises(errors.InvalidField) as refusal:
        put(registry, run, "config", {"lr": 1, "a.b": [0.5] * (RUN_VALUE_BYTES // 11 + 1)})
    assert refusal.value.violations[0][0] == "run.config.a.b"
    assert refusal.value.metadata == {"part": "config", "key": "a.b"}
    assert maps_of(registry, run)["config"] == {"lr": 0.1}


def test_long_lists_are_ordinary_values(registry: Registry) -> None:
    names, numbers = [f"feature_{number}" for number in range(21_843)], [n / 3 for n in range(100_000)]
    run = make(registry, maps={"config": {"names": names, "lr": 0.1, "numbers": numbers}})
    assert maps_of(registry, run)["config"] == {"names": names, "lr": 0.1, "numbers": numbers}
    assert found(registry, "config.lr = 0.1") == found(registry, 'config.names : "feature_7"') == 1


def test_what_replaces_a_value_does_not_count_twice(registry: Registry) -> None:
    run = make(registry)
    for number in range(8):
        put(registry, run, "summary", {"text": ["x" * 900_000], "other": [str(number % 10) * 900_000]})
    with pytest.raises(errors.InvalidField, match=r"summary\.third"):
        put(registry, run, "summary", {"third": ["x" * 900_000, "x" * 900_000]})
    put(registry, run, "summary", {"third": ["x" * 900_000]}, removed=["text"])


def test_sizes_are_those_on_the_wire() -> None:
    entries = {
        "f": 0.5, "i": [0, 1, 127, 128, 300, -1, 1 << 62], "small": [1] * 50, "t": "ü" * 200,
        "b": [True, None],
        "deep": {"a": [{}, {"x": []}]}, "n": {"$": "nan"}, "d": {"$": [{"$": 1}]}, "fs": [0.1] * 30, "": "",
    }  # fmt: skip
    assert fields.wire_bytes_of_map(entries) == run_pb2.Run(config=json_to_values(entries)).ByteSize()


def add_file(session: Session, _: Any, run: Run, attempt: int) -> None:
    """A file of a run, whose content is that of every such file."""
    content = {"entity_id": run.entity_id, "digest": b"d" * 32}
    file = session.scalar(select(File).filter_by(**content)) or File(**content, sha256=None, size=0)
    session.add(file)
    session.flush()
    row = RunFile(run_id=run.id, attempt=attempt, path=b"f", file_id=file.id, media_type="", updated_at=0)
    session.add(row)


def test_a_deleted_run_gives_back_every_row_but_its_tombstone(registry: Registry) -> None:
    run = make(registry, run_id="r", maps={"config": {"lr": 0.1}, "metadata": {"host": "a"}}, tags=["t"])
    for attempt in range(3):
        for number in range(removals.LARGE_ROWS):
            batch = Batch("w", number + 1, b"x", number, number, 1, {"loss": number})
            registry.write(metrics.log, run.id, batch, summarize=True, summary={})
        lines = [Line(number, 0, 0, "x", "", 0, 0) for number in range(1, 1_000)]
        registry.write(console.log, run.id, console.Batch("w", 1, lines))
        registry.write(add_file, run, attempt + 1)
        if attempt < 2:
            make(registry, runs.NEW_ATTEMPT, run_id="r", maps={"summary": {"a": 1}})
    registry.write(runs.delete, run.id)

    def rest(session: Session, _: Any) -> dict[str, int]:
        of = {
            table.name: next(table.c[name] for name in ("run_id", "subject_id") if name in table.c)
            for table in Base.metadata.sorted_tables
            if {"run_id", "subject_id"} & set(table.c.keys()) and table.name != "run"
        }
        counts = {
            name: session.scalar(select(func.count()).where(column == run.id)) or 0
            for name, column in of.items()
        }
        return {name: count for name, count in counts.items() if count}

    assert "run_removal" in registry.read(rest), "more than one transaction should remove"
    while registry.write(lambda session, _: removals.remove_waiting(session)) == removals.SWEEP_BATCH:
        pass
    assert registry.read(rest) == {}


def test_a_deleted_run_with_series_leaves_no_row_in_any_table(registry: Registry) -> None:
    def counts() -> dict[str, int]:
        def read(session: Session, _: Any) -> dict[str, int]:
            tables = Base.metadata.sorted_tables
            return {
                table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables
            }

        return registry.read(read)

    def pack_all(session: Session, _: Any) -> None:
        for log_id in session.scalars(select(MetricLog.id).order_by(MetricLog.id)).all():
            packed = packing.pack(session, log_id, metric_batches.decode)
            assert packed is not None
            assert packing.store(session, packed)

    def fill(run: Run) -> None:
        for stream in (metrics.HISTORY, metrics.SYSTEM):
            message = metric_pb2.MetricBatch(steps=[0, 1], timestamps=[1.0, 2.0])
            message.columns.add(key="a", doubles=[1.0, 2.0])
            for number in (1, 2):
                batch = Batch(
                    f"w{stream}", number, message.SerializeToString(), 0, 1, 2, {}, stream=stream, weight=20
                )
                registry.write(metrics.log, run.id, batch, summarize=False, summary={})
                if number == 1:
                    registry.write(pack_all)
        registry.write(console.log, run.id, console.Batch("c", 1, [Line(1, 0, 0, "x", "", 0, 0)]))
        registry.write(add_file, run, 1)

    other = make(registry, run_id="other", maps={"summary": {"a": 1}}, tags=["t"])
    fill(other)
    before = counts()
    run = make(registry, run_id="r", maps={"summary": {"a": 1}}, tags=["t"])
    fill(run)
    grown = {name for name, count in counts().items() if count > before[name]}
    assert {"metric_log", "metric_key", "metric_block", "metric_segment", "metric_batch"} <= grown
    assert {"console_segment", "console_writer", "run_file", "run_map", "attribute"} <= grown
    registry.write(runs.delete, run.id)
    while registry.write(lambda session, _: removals.remove_waiting(session)) == removals.SWEEP_BATCH:
        pass
    assert {name for name, count in counts().items() if count != before[name]} - {"run", "event"} == set()
