"""Bad runs, rows, lines, samples and watches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.wire.bad_input.cases import Case, of_values
from tests.wire.bad_input.values import CHARACTERS, IDS, RUN_TAGS, SOME_NAMES, TIMES, TOO_LONG, VALUES

RUNS = "RunService"
CREATE, UPDATE, FINISH = f"{RUNS}/CreateRun", f"{RUNS}/UpdateRun", f"{RUNS}/FinishRun"
LOG = "MetricService/LogMetrics"
LINES = "RunConsoleService/LogConsoleLines"

COLUMN = {"key": "loss", "doubles": [0.5]}
BATCH = {"steps": [0], "timestamps": [1.0], "columns": [COLUMN]}
ROWS = {"run_id": "$run", "writer": "w", "sequence": 1, "batch": BATCH}
LINE = {"number": 1, "write_time": {"seconds": 1}, "stream": 1, "text": "x"}
WRITTEN = {"run_id": "$run", "writer": "w", "sequence": 1, "lines": [LINE]}
RUN_NAMES = {
    **TOO_LONG,
    **CHARACTERS,
    "a dot": "a.b",
    "a slash": "a/b",
    "a space": "a b",
    "percent-encoded": "a%2Fb",
}
MAPS = {
    "a key too long": ({"k" * 1025: {"int_value": 1}}, ""),
    **{kind: ({"k": value}, ".k" + "[0]" * 20 * (kind == "21 levels")) for kind, value in VALUES.items()},
}


def runs() -> Iterator[Case]:
    """Runs that are created, changed and ended."""
    base = {"run": {"project": "$project"}}
    yield from of_values(CREATE, "run.name", RUN_NAMES, base=base)
    for field in ("project", "entity"):
        yield from of_values(CREATE, f"run.{field}", SOME_NAMES, base=base)
    for field in ("display_name", "group", "job_type"):
        yield from of_values(CREATE, f"run.{field}", {"U+0000": "a\0b", "too long": "x" * 10_000}, base=base)
    yield from of_values(CREATE, "run.notes", {"U+0000": "a\0b", "65,537 bytes": "x" * 65_537}, base=base)
    yield from of_values(CREATE, "run.tags[0]", RUN_TAGS, base=base)
    for part in ("config", "summary", "metadata"):
        for kind, (entries, place) in MAPS.items():
            named = f"run.{part}{place}"
            yield from of_values(CREATE, f"run.{part}", {kind: entries}, base=base, named=named)
    yield from of_values(CREATE, "resume", {"unknown": 99, "negative": -1}, base=base)
    masks = {
        "an unknown field": {"paths": ["nothing"]},
        "SQL": {"paths": ["id; --"]},
        "U+0000": {"paths": ["\0"]},
    }
    yield from of_values(CREATE, "read_mask", masks, base=base, reason="INVALID_MASK")
    yield from of_values(f"{RUNS}/ListRuns", "read_mask", masks, reason="INVALID_MASK")
    changed = {"run": {"id": "$run"}}
    yield from of_values(
        UPDATE,
        "update_mask",
        {**masks, "empty": {}, "a fixed field": {"paths": ["id"]}},
        base=changed,
        reason="INVALID_MASK",
    )
    for part in ("config", "summary", "metadata"):
        yield from of_values(UPDATE, f"{part}_keys", {"an empty key": [""]}, base=changed)
        whole = {"run": {"id": "$run"}, "update_mask": {"paths": [part]}}
        for kind, (entries, place) in MAPS.items():
            yield from of_values(
                UPDATE, f"run.{part}", {kind: entries}, base=whole, named=f"run.{part}{place}"
            )
    yield from of_values(UPDATE, "run.id", {**IDS, "empty": ""}, base={"update_mask": {"paths": ["notes"]}})
    tags = {"run": {"id": "$run"}, "update_mask": {"paths": ["tags"]}}
    yield from of_values(UPDATE, "run.tags[0]", RUN_TAGS, base=tags)
    for kind, (entries, place) in MAPS.items():
        yield from of_values(FINISH, "summary", {kind: entries}, base={"id": "$run"}, named=f"summary{place}")
    yield from of_values(FINISH, "state", {"unknown": 99, "running": 1}, base={"id": "$run"})
    yield from of_values(FINISH, "attempt", {"negative": -1, "zero": 0}, base={"id": "$run"})
    for method in ("GetRun", "DeleteRun", "FinishRun", "HeartbeatRun", "ListRunAttempts"):
        yield from of_values(f"{RUNS}/{method}", "id", {**IDS, "empty": ""})
    yield from of_values(f"{RUNS}/GetRun", "ref", {**RUN_NAMES, "a slash": "a/b/c/d", "no project": "a//c"})


def definitions() -> Iterator[Case]:
    """What programs say about their metrics."""
    base = {"run": {"project": "$project"}}
    field = "run.metric_definitions"
    wrong = {
        "an empty name": {"": {}},
        "a name too long": {"k" * 1025: {}},
        "an unknown summary": {"m": {"summary": [99]}},
        "an unknown goal": {"m": {"goal": 99}},
        "a step too long": {"m": {"step_metric": "k" * 1025}},
    }
    places = ("[]", f"[{'k' * 100}]", "[m].summary", "[m].goal", "[m].step_metric")
    for (kind, entries), place in zip(wrong.items(), places, strict=True):
        yield from of_values(CREATE, field, {kind: entries}, base=base, named=f"{field}{place}")


def rows() -> Iterator[Case]:
    """Rows of metrics."""
    yield from of_values(LOG, "run_id", {**IDS, "empty": ""}, base=ROWS)
    yield from of_values(LOG, "writer", {**CHARACTERS, "empty": "", "65 characters": "w" * 65}, base=ROWS)
    yield from of_values(LOG, "sequence", {"zero": 0, "negative": -1, "the least": -(2**63)}, base=ROWS)
    yield from of_values(LOG, "stream", {"unknown": 99}, base=ROWS)
    yield from of_values(LOG, "summary_mode", {"unknown": 99}, base=ROWS)
    for kind, (entries, place) in MAPS.items():
        yield from of_values(LOG, "summary", {kind: entries}, base=ROWS, named=f"summary{place}")
    steps = {"negative": [-1], "the least": [-(2**63)], "beyond 2^53": [2**53 + 1], "the most": [2**63 - 1]}
    yield from of_values(LOG, "batch.steps", steps, base=ROWS, named="batch.steps[0]")
    times = {"NaN": [float("nan")], "infinity": [float("inf")], "negative": [-1.0]}
    yield from of_values(LOG, "batch.timestamps", times, base=ROWS, named="batch.timestamps[0]")
    yield from of_values(LOG, "batch.timestamps", {"none": [], "too many": [1.0, 2.0]}, base=ROWS)
    keys = {"empty": "", "too long": "k" * 1025, "U+0000": "a\0b", "reserved": "_step"}
    yield from of_values(LOG, "batch.columns[0].key", keys, base=ROWS)
    yield from of_values(LOG, "batch.columns[0].doubles", {"too many": [1.0, 2.0]}, base=ROWS)
    yield from of_values(
        LOG, "batch.columns[0].ints", {"beside doubles": [1]}, base=ROWS, named="batch.columns[0]"
    )
    yield from of_values(
        LOG, "batch.columns[0].rows", {"behind the end": [1], "the most": [2**32 - 1]}, base=ROWS
    )
    two = {
        **ROWS,
        "batch": {
            "steps": [0, 1],
            "timestamps": [1.0, 1.0],
            "columns": [{"key": "a", "doubles": [1.0, 2.0]}],
        },
    }
    yield from of_values(LOG, "batch.columns[0].rows", {"descending": [1, 0], "twice": [1, 1]}, base=two)
    for kind, value in VALUES.items():
        batch = {**BATCH, "columns": [{"key": "a", "values": [value]}]}
        place = "batch.columns[0].values[0]" + "[0]" * 20 * (kind == "21 levels")
        yield from of_values(LOG, "batch", {f"a value: {kind}": batch}, base=ROWS, named=place)
    yield Case(f"{LOG} for a finished run", LOG, ({**ROWS, "run_id": "$finished"},), "RUN_FINISHED", "")
    unknown = {**ROWS, "run_id": "0190a8e0-0000-7000-8000-000000000000"}
    yield Case(f"{LOG} for an unknown run", LOG, (unknown,), "NOT_FOUND", "")
    streamed = "MetricService/LogMetricBatches"
    bad = {"batch": {**ROWS, "batch": {**BATCH, "steps": [-1]}}}
    yield Case(f"{streamed} a negative step", streamed, (bad,), "INVALID_FIELD", "requests[0].batch.steps[0]")


def lines() -> Iterator[Case]:
    """Lines of consoles."""
    yield from of_values(LINES, "run_id", {**IDS, "empty": ""}, base=WRITTEN)
    yield from of_values(
        LINES, "writer", {"U+0000": "a\0b", "empty": "", "65 characters": "w" * 65}, base=WRITTEN
    )
    yield from of_values(LINES, "sequence", {"zero": 0, "negative": -1}, base=WRITTEN)
    yield from of_values(LINES, "lines", {"none": [], "10,001": [LINE] * 10_001}, base=WRITTEN)
    yield from of_values(LINES, "lines[0].number", {"negative": -1, "zero": 0}, base=WRITTEN)
    yield from of_values(LINES, "lines[0].write_time", {**TIMES}, base=WRITTEN)
    yield from of_values(LINES, "lines[0].stream", {"unknown": 99}, base=WRITTEN)
    yield from of_values(
        LINES, "lines[0].text", {"16,385 bytes": "x" * 16_385, "U+0000": "a\0b"}, base=WRITTEN
    )
    yield from of_values(LINES, "lines[0].process", {"too long": "x" * 1000, "U+0000": "a\0b"}, base=WRITTEN)
    shown = {"run_id": "$run"}
    listing = "RunConsoleService/ListConsoleLines"
    yield from of_values(listing, "run_id", {**IDS, "empty": ""})
    yield from of_values(listing, "stream", {"unknown": 99}, base=shown)
    yield from of_values(listing, "text", {"U+0000": "\0"}, base=shown)


def reading() -> Iterator[Case]:
    """Scans, samples and watches."""
    scan, sample, keys = (
        f"MetricService/{name}" for name in ("ScanMetricHistory", "SampleMetrics", "ListMetricKeys")
    )
    base = {"run_id": "$run"}
    yield from of_values(scan, "run_id", {**IDS, "empty": ""})
    yield from of_values(scan, "min_step", {"negative": -1, "the least": -(2**63)}, base=base)
    yield from of_values(scan, "end_step", {"negative": -1, "the least": -(2**63)}, base=base)
    yield from of_values(scan, "stream", {"unknown": 99}, base=base)
    yield from of_values(keys, "run_id", {**IDS, "empty": ""})
    yield from of_values(keys, "stream", {"unknown": 99}, base=base)
    sampled = {"run_ids": ["$run"], "keys": ["loss"], "bucket_count": 10}
    yield from of_values(sample, "run_ids", {"none": []}, base=sampled)
    yield from of_values(sample, "keys", {"none": []}, base=sampled)
    yield from of_values(sample, "bucket_count", {"negative": -1, "the most": 2**31 - 1}, base=sampled)
    yield from of_values(sample, "min_x", {"NaN": float("nan"), "infinity": float("inf")}, base=sampled)
    yield from of_values(sample, "end_x", {"NaN": float("nan"), "infinity": float("-inf")}, base=sampled)
    yield from of_values(sample, "stream", {"unknown": 99}, base=sampled)
    watch = f"{RUNS}/WatchRuns"
    yield from of_values(watch, "runs[0].run_id", {**IDS, "empty": ""}, base={"history": True})
    yield from of_values(
        watch,
        "runs[0].position",
        {"a word": "x", "not base64": "!!!", "U+0000": "\0"},
        base={"runs": [{"run_id": "$run"}], "history": True},
    )
    yield from of_values(
        watch, "runs[0].min_step", {"negative": -1}, base={"runs": [{"run_id": "$run"}], "history": True}
    )
    yield Case(f"{watch} of nothing", watch, ({},), "INVALID_FIELD", "runs")


CASES = list(itertools.chain(runs(), definitions(), rows(), lines(), reading()))
