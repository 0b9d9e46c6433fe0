"""Runs found by the filters and orders that scripts for W&B use, on both databases."""

from __future__ import annotations

import copy
import datetime
import pickle
import re
from collections import Counter
from typing import Any

import pytest

import modelyard
from modelyard import Api
from modelyard.public_runs.public_run import PublicRun
from modelyard.query import conditions, run_matching
from modelyard.query.run_conditions import OF_RUNS, run_filter, run_order
from modelyard.query.run_search import RunSearch
from tests.clients.counted_stub import CountedStub

RUNS: list[dict[str, Any]] = [
    {"name": "resnet-18", "tags": ["fast", "old"], "group": "a",
     "config": {"lr": 0.1, "opt": "sgd"}, "loss": 0.5},
    {"name": "ResNet-50", "tags": ["old"], "group": "a", "config": {"lr": 0.01, "opt": "adam"}, "loss": 0.25},
    {"name": "vit-b", "group": "b", "job_type": "eval",
     "config": {"lr": 0.001, "layers": [1, 2]}, "loss": 0.125},
    {"name": "vit-ä_l", "notes": "try again", "config": {"lr": "auto", "deep": {"x": True}}},
]  # fmt: skip


@pytest.fixture
def names(work: Any) -> list[str]:
    """The display names of the runs that exist, oldest first."""
    for entry in RUNS:
        fields = {key: value for key, value in entry.items() if key != "loss"}
        with modelyard.init(**fields) as run:
            if "loss" in entry:
                run.log({"loss": entry["loss"], "val": {"acc": 1 - entry["loss"]}})
    return [entry["name"] for entry in RUNS]


def _indexes(names: list[str], filters: Any, **more: Any) -> list[int]:
    return [names.index(run.name) for run in Api().runs(filters=filters, **more)]


YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
FILTERS: list[tuple[Any, list[int]]] = [
    ({}, [0, 1, 2, 3]),
    ({"display_name": {"$regex": "^resnet.*"}}, [0]),
    ({"display_name": {"$regex": "^resnet-\\d+$", "$options": "i"}}, [0, 1]),
    ({"display_name": {"$regex": re.compile("x")}}, []),
    ({"displayName": {"$regex": "(18|b)$"}}, [0, 2]),
    ({"display_name": {"$regex": "^vit-b$"}}, [2]),
    ({"display_name": {"$not": {"$regex": "vit"}}}, [0, 1]),
    ({"config.lr": 0.1}, [0]),
    ({"config.lr.value": {"$lt": 0.1}}, [1, 2]),
    ({"config.lr": {"$ne": 0.1}}, [1, 2, 3]),
    ({"config.lr": "auto"}, [3]),
    ({"config.layers": [1, 2]}, [2]),
    ({"config.deep.x": True}, [3]),
    ({"config.opt": None}, [2, 3]),
    ({"config.opt": {"$ne": None}}, [0, 1]),
    ({"config.opt": {"$exists": False}}, [2, 3]),
    ({"config.opt": {"$in": ["sgd", "adam"]}}, [0, 1]),
    ({"config.opt": {"$regex": "a.*m"}}, [1]),
    ({"config.opt": {"$nin": ["sgd"]}}, [1, 2, 3]),
    ({"summary_metrics.loss": {"$lt": 0.5, "$gte": 0.25}}, [1]),
    ({"summary_metrics.val.acc": {"$gt": 0.8}}, [2]),
    ({"tags": "old"}, [0, 1]),
    ({"tags": {"$in": ["fast", "x"]}}, [0]),
    ({"tags": {"$nin": ["fast"]}}, [1, 2, 3]),
    ({"tags": {"$all": ["fast", "old"]}}, [0]),
    ({"tags": ["old"]}, [1]),
    ({"tags": {"$regex": "^f"}}, [0]),
    ({"tags": {"$exists": False}}, [2, 3]),
    ({"tags": {"$ne": "old"}}, [2, 3]),
    ({"group": "a", "$or": [{"config.opt": "sgd"}, {"config.opt": {"$regex": "A"}}]}, [0]),
    ({"$nor": [{"group": "a"}, {"jobType": "eval"}]}, [3]),
    ({"group": None}, [3]),
    ({"state": {"$in": ["finished", "crashed"]}, "$and": [{"group": {"$ne": "b"}}, {"config.lr": 0.1}]}, [0]),
    ({"state": {"$regex": "^fin"}}, [0, 1, 2, 3]),
    ({"state": "running"}, []),
    ({"notes": {"$regex": "again"}}, [3]),
    ({"metadata.python": {"$exists": True}, "group": "b"}, [2]),
    ({"created_at": {"$gt": YESTERDAY.isoformat()}}, [0, 1, 2, 3]),
    ({"createdAt": {"$lt": str(YESTERDAY.date())}}, []),
    ({"heartbeat_at": {"$gt": YESTERDAY}}, [0, 1, 2, 3]),
    ({"name": {"$in": [f"no-run-{number}" for number in range(1000)]}}, []),
    ({"name": {"$nin": [f"no-run-{number}" for number in range(1000)]}, "group": "b"}, [2]),
    ({"username": {"$exists": True}}, [0, 1, 2, 3]),
    ('config.lr < 0.1 AND tags : "old"', [1]),
]  # fmt: skip


def test_every_filter_finds_the_same_runs_at_the_server_and_here(names: list[str]) -> None:
    everything = [run._record for run in Api().runs(lazy=False)]
    for filters, expected in FILTERS:
        assert _indexes(names, filters) == expected, filters
        if isinstance(filters, dict):
            tree = conditions.parse(filters, OF_RUNS)
            here = [index for index, run in enumerate(everything) if run_matching.matches(tree, run)]
            assert here == expected, filters


def test_what_the_server_can_express_is_left_to_it() -> None:
    assert run_filter({"config.lr": {"$lt": 1}, "state": "finished"}).checks == ()
    assert run_filter({"display_name": {"$regex": "^foo.*b+r"}}).text == 'display_name : "foo"'
    assert run_filter({"display_name": {"$regex": "a?b{0,2}c*"}}).text == ""
    assert run_filter({"display_name": {"$regex": "(?i)foo"}}).text == ""


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"lr": 0.1}, "no field 'lr'"),
        ({"sweep": "x"}, "no field 'sweep'"),
        ({"config": {"lr": 1}}, "no \\$|has no lr|config"),
        ({"config": 1}, "needs a key"),
        ({"state": "finised"}, "is not one of running"),
        ({"state.x": "running"}, "has no keys"),
        ({"display_name": 5}, "is a text"),
        ({"display_name": {"$regex": "("}}, "no pattern"),
        ({"display_name": {"$regex": "a", "$options": "q"}}, "options"),
        ({"created_at": {"$gt": "yesterday"}}, "no time"),
        ({"config.lr": {"$near": 1}}, "no \\$near"),
        ({"$where": "1"}, "no \\$where"),
    ],
)
def test_an_unknown_filter_is_explained_before_anything_is_sent(filters: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        run_filter(filters)


def test_an_unknown_order_is_explained() -> None:
    with pytest.raises(ValueError, match="no field 'loss'"):
        run_order("+loss")


ORDERS: list[tuple[str | None, list[int]]] = [
    (None, [0, 1, 2, 3]),
    ("+created_at", [0, 1, 2, 3]),
    ("-created_at", [3, 2, 1, 0]),
    ("create_time desc", [3, 2, 1, 0]),
    ("+summary_metrics.loss", [2, 1, 0, 3]),
    ("-summary_metrics.loss", [0, 1, 2, 3]),
    ("+config.lr.value", [2, 1, 0, 3]),
    ("-config.lr", [0, 1, 2, 3]),
    ("-heartbeat_at", [3, 2, 1, 0]),
    ("summary_metrics.val.acc desc", [2, 1, 0, 3]),
]


def test_runs_come_in_the_order_that_is_asked_for(names: list[str]) -> None:
    for order, expected in ORDERS:
        assert _indexes(names, None, order=order, per_page=2) == expected, order


def test_runs_are_a_list(names: list[str]) -> None:
    runs = Api().runs(per_page=3, include_sweeps=False)
    assert len(runs) == 4
    assert (runs[0].name, runs[-1].name) == (names[0], names[3])
    assert [run.name for run in runs[1:3]] == names[1:3]
    assert len(Api().runs(filters={"group": "a"})) == 2
    assert len(Api().runs(filters={"group": "c"})) == 0
    rows = Api().runs(filters={"group": "a"}).histories(keys=["loss"])
    assert [(row["run_id"], row["loss"]) for row in rows] == [(runs[0].id, 0.5), (runs[1].id, 0.25)]
    with pytest.raises(ValueError, match="pandas"):
        runs.histories(format="arrow")
    entity, project, run_id = runs[0].path
    assert Api().run(f"/{entity}/{project}/runs/{run_id}") == runs[0]


class _CountedRuns:
    """A connection that counts the calls about runs made through it."""

    def __init__(self, inner: Any) -> None:
        self.calls: Counter[str] = Counter()
        self.runs = CountedStub(inner.runs, self.calls)


def _search(where: tuple[str, str], size: int, condition: Any = None) -> tuple[Counter[str], list[PublicRun]]:
    """The calls, and the runs of a lazy search."""
    workspace = Api()._workspace
    connection: Any = _CountedRuns(workspace.connection)
    found = RunSearch(connection, where, condition, "+created_at", size, lazy=True)
    return connection.calls, [workspace.run(each) for each in found]


@pytest.fixture
def where(names: list[str]) -> tuple[str, str]:
    """Entity and project of the runs."""
    entity, project, _ = Api().runs()[0].path
    return entity, project


def test_maps_of_runs_are_read_for_a_page_at_once_when_they_are_used(where: tuple[str, str]) -> None:
    calls, found = _search(where, 3)
    assert calls == {"ListRuns": 2}
    assert [run._record.config for run in found] == [{}] * 4
    assert [run.config for run in found] == [entry["config"] for entry in RUNS]
    assert calls == {"ListRuns": 4}
    assert found[0].summary_metrics["loss"] == 0.5
    assert [run.summary.get("val") for run in found[:3]] == [{"acc": 0.5}, {"acc": 0.75}, {"acc": 0.875}]
    assert calls == {"ListRuns": 5}
    assert found[0].metadata == Api().run("/".join(found[0].path)).metadata != {}


def test_maps_that_were_used_come_with_the_next_pages(where: tuple[str, str]) -> None:
    workspace = Api()._workspace
    connection: Any = _CountedRuns(workspace.connection)
    found = RunSearch(connection, where, None, "+created_at", 1, lazy=True)
    assert [workspace.run(each).config for each in found] == [entry["config"] for entry in RUNS]
    assert connection.calls == {"ListRuns": 5}


def test_a_run_whose_map_was_left_out_is_changed_without_losing_entries(where: tuple[str, str]) -> None:
    _, (run, *_) = _search(where, 50)
    run.notes = "looked at"
    run.update()
    _, (run, *_) = _search(where, 50)
    run.config["seed"] = 7
    run.summary = {"loss": 0.25}
    run.update()
    stored = Api().run("/".join(run.path))
    assert stored.notes == "looked at"
    assert stored.config == {**RUNS[0]["config"], "seed": 7}
    assert dict(stored.summary) == {"loss": 0.25}


def test_what_the_client_checks_comes_with_the_page(where: tuple[str, str]) -> None:
    calls, found = _search(where, 50, {"config.opt": {"$regex": "^a"}})
    assert [run.name for run in found] == ["ResNet-50"]
    assert found[0].config["opt"] == "adam"
    assert calls == {"ListRuns": 1}


def test_maps_of_runs_that_left_their_page_are_read_one_by_one(where: tuple[str, str]) -> None:
    workspace = Api()._workspace
    connection: Any = _CountedRuns(workspace.connection)
    search = iter(RunSearch(connection, where, None, "-created_at", 2, lazy=True))
    first, second = (workspace.run(next(search)) for _ in range(2))
    with modelyard.init(project=where[1]):
        pass
    assert (first.config, second.config) == (RUNS[3]["config"], RUNS[2]["config"])
    assert connection.calls == {"ListRuns": 2, "GetRun": 1}


def test_a_list_of_few_runs_takes_one_call(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    workspace = api._workspace
    counted: Any = _CountedRuns(workspace.connection)
    monkeypatch.setattr(workspace, "connection", counted)
    monkeypatch.setattr(Api, "_workspace", workspace)
    assert [run.name for run in list(api.runs())] == names
    assert counted.calls == {"ListRuns": 1}
    assert len(api.runs()) == 4
    assert counted.calls == {"ListRuns": 2}
    assert len(list(api.runs(per_page=3))) == 4
    assert counted.calls == {"ListRuns": 5}


WAYS = (copy.copy, copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run)))  # noqa: S301  # our own bytes


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_a_listed_run_read_its_maps_each_for_itself(names: list[str], way: Any) -> None:
    (run, *_) = Api().runs()
    copied = way(run)
    assert copied.config == RUNS[0]["config"]
    assert run.config == RUNS[0]["config"]
    assert copied.summary_metrics == run.summary_metrics
