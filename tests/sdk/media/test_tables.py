"""`Table`: its rows and columns, the kinds of their cells, and its files, on both databases."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelyard
from modelyard import Api
from modelyard.data_types import Html, Image, Table
from modelyard.media.tables import kinds


def _logged(work: Path, *tables: Table) -> list[Table]:
    """Tables as they come back from a run that logged them."""
    with modelyard.init() as run:
        for table in tables:
            run.log({"table": table})
    found = Api().run(run.path)
    return [found.media(row["table"], work / "there") for row in found.scan_history()]


def test_a_table_comes_back_with_the_kinds_of_its_cells(work: Path) -> None:
    table = Table(columns=["id", "text", "list", "map", "array", "when", 7])
    day = datetime.date(2026, 1, 2)
    table.add_data(1, "größe", [1, 2], {"a": {"b": None}}, np.eye(2), day, True)
    table.add_data(2.5, None, [], {"a": {"b": None}}, np.zeros((2, 2)), day, None)
    (found,) = _logged(work, table)
    assert found.columns == table.columns
    assert found.data[0] == [
        1,
        "größe",
        [1, 2],
        {"a": {"b": None}},
        [[1.0, 0.0], [0.0, 1.0]],
        "2026-01-02",
        True,
    ]
    assert found.data[1][:4] == [2.5, None, [], {"a": {"b": None}}]
    with pytest.raises(TypeError, match="holds none or number"):
        found.add_data("x", "", [], {"a": {"b": None}}, None, None, None)


def test_numbers_that_json_lacks_and_keys_that_stand_for_them_come_back(work: Path) -> None:
    cells = [[math.inf, {"$": 1}], [-math.inf, {"$": 2}], [math.nan, {"$": 3}]]
    (found,) = _logged(work, Table(columns=["number", "map"], data=cells))
    assert [row[0] for row in found.data[:2]] == [math.inf, -math.inf]
    assert math.isnan(found.data[2][0])
    assert [row[1] for row in found.data] == [{"$": 1}, {"$": 2}, {"$": 3}]


def test_files_of_tables_are_json_that_every_reader_takes(work: Path) -> None:
    with modelyard.init() as run:
        run.log({"table": Table(columns=["a"], data=[[math.nan], [np.float32(0.5)], [np.int64(3)]])})
    found = Api().run(run.path)
    (row,) = found.scan_history()
    assert row["table"]["_type"] == "table-file"
    assert (row["table"]["ncols"], row["table"]["nrows"]) == (1, 3)
    with found.file(row["table"]["path"]).download() as file:
        document = json.load(file, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["columns"] == ["a"]
    assert document["data"] == [[{"$": "nan"}], [0.5], [3]]


def test_media_in_cells_are_files_of_the_run_and_come_back(work: Path) -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    table = Table(columns=["image", "pages"])
    for number in range(3):
        table.add_data(Image(picture, caption=str(number)), [Html("<i>one</i>"), Html("<b>two</b>")])
    (found,) = _logged(work, table)
    assert [row[0].caption for row in found.data] == ["0", "1", "2"]
    assert np.array_equal(np.asarray(found.data[2][0].image), picture)
    assert found.data[0][1][1].html.endswith("<b>two</b>")
    assert len(list((work / "there/media/images").iterdir())) == 1
    assert len(list((work / "there/media/html").iterdir())) == 2


def test_tables_of_many_pictures_come_back_from_runs_and_artifacts(work: Path) -> None:
    table = Table(columns=["picture"])
    for number in range(40):
        table.add_data(Image(np.full((2, 2), number, np.uint8)))
    artifact = modelyard.Artifact("pictures", "dataset")
    artifact.add(table, "table")
    with modelyard.init() as run:
        run.log({"table": table})
        run.log_artifact(artifact)
    found = Api().run(run.path)
    assert found.media(found.summary["table"], work / "there") == table
    assert Api().artifact("pictures:latest")["table"] == table


def test_a_table_of_a_hundred_thousand_rows_comes_back_whole(work: Path) -> None:
    numbers = np.random.default_rng(1).random(100_000)
    table = Table(columns=["id", "score", "label"])
    for index, number in enumerate(numbers.tolist()):
        table.add_data(index, number, f"row {index}")
    (found,) = _logged(work, table)
    assert found.data == table.data


def test_a_table_is_logged_as_it_is_at_each_call(work: Path) -> None:
    table = Table(columns=["a"], log_mode="MUTABLE")
    with modelyard.init() as run:
        for number in range(3):
            table.add_data(number)
            run.log({"table": table})
    found = Api().run(run.path)
    tables = [found.media(row["table"]) for row in found.scan_history()]
    assert [len(one) for one in tables] == [1, 2, 3]


def test_an_incremental_table_sends_only_new_rows_and_comes_back_whole(work: Path) -> None:
    table = Table(columns=["a"], log_mode="INCREMENTAL")
    with modelyard.init() as run:
        for number in range(3):
            table.add_data(number)
            table.add_data(number + 0.5)
            run.log({"table": table})
    found = Api().run(run.path)
    rows = [row["table"] for row in found.scan_history()]
    assert [row["increment_num"] for row in rows] == [0, 1, 2]
    assert [row["nrows"] for row in rows] == [2, 4, 6]
    assert rows[2]["previous_increments_paths"] == [rows[0]["path"], rows[1]["path"]]
    with found.file(rows[2]["path"]).download() as file:
        assert json.load(file)["data"] == [[2], [2.5]]
    assert found.media(rows[2]).data == table.data
    assert found.media(rows[1]).data == table.data[:4]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, "x"),
        ("x", 1),
        (True, 1),
        ([1], ["x"]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": "x"}),
        (np.zeros(2), np.zeros(3)),
        (Image(np.zeros((2, 2))), 1),
        (Image(np.zeros((2, 2))), Html("x")),
    ],
)
def test_cells_of_another_kind_are_refused_unless_that_is_allowed(first: Any, second: Any) -> None:
    table = Table(columns=["a"], data=[[first], [None]])
    with pytest.raises(TypeError, match="the column 'a' holds"):
        table.add_data(second)
    assert len(table) == 2
    mixed = Table(columns=["a"], data=[[first], [second]], allow_mixed_types=True)
    assert len(mixed) == 2


@pytest.mark.parametrize(
    "cells",
    [[1, 2.5, np.int64(3), np.float32(1), 10**30], ["a", np.str_("b")], [[1], [1, 2], []], [None, 1, None]],
)
def test_cells_of_one_kind_are_taken(cells: list[Any]) -> None:
    assert Table(columns=["a"], data=[[cell] for cell in cells]).get_column("a") == cells


def test_a_row_is_taken_as_a_whole_or_not_at_all() -> None:
    table = Table(columns=["a", "b"])
    with pytest.raises(TypeError):
        Table(columns=["a", "b"], data=[[1, "x"], [2, 3]])
    for cells in ([1], [1, 2, 3], []):
        with pytest.raises(ValueError, match="2 columns"):
            table.add_data(*cells)
    table.add_data(1, "x")
    with pytest.raises(TypeError):
        table.add_data("not a number", 5)
    table.add_data(2, "y")
    assert table.data == [[1, "x"], [2, "y"]]


def test_kinds_may_be_named_and_none_may_be_refused() -> None:
    with pytest.raises(TypeError, match="'a' holds none or number"):
        Table(columns=["a"], dtype=int, data=[["x"]])
    with pytest.raises(TypeError, match="'a' holds number, and row 1 has none"):
        Table(columns=["a"], optional=False, data=[[1], [None]])
    assert Table(columns=["a", "b"], dtype=[Image, str], optional=[True, False]).columns == ["a", "b"]
    for wrong in ({"dtype": [int]}, {"optional": [True]}, {"log_mode": "SOMETIMES"}):
        with pytest.raises(ValueError, match="Table"):
            Table(columns=["a", "b"], **wrong)  # type: ignore[arg-type]


def test_columns_are_added_computed_and_read() -> None:
    table = Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])
    table.add_column("c", np.array([0.5, 1.5]))
    table.add_computed_columns(lambda index, row: {"twice": row["a"] * 2, "index": index})
    assert table.columns == ["a", "b", "c", "twice", "index"]
    assert list(table.iterrows()) == [(0, [1, "x", 0.5, 2, 0]), (1, [2, "y", 1.5, 4, 1])]
    assert table.get_column("c", convert_to="numpy").mean() == 1.0
    assert table.get_index() == [0, 1]
    for wrong in (lambda: table.add_column("d", [1]), lambda: table.add_column("a", [1, 2])):
        with pytest.raises(ValueError, match="column"):
            wrong()
    with pytest.raises(KeyError):
        table.get_column("nowhere")
    with pytest.raises(TypeError):
        table.cast("a", str)
    table.cast("a", float)


def test_tables_are_made_of_arrays_and_of_rows() -> None:
    assert Table(data=np.eye(3)).columns == ["Input", "Output", "Expected"]
    assert Table(columns=["a", "b"], rows=[[1, 2]]).data == [[1, 2]]
    assert Table().columns == ["Input", "Output", "Expected"]
    for wrong in ({"data": "text"}, {"columns": "text"}, {"columns": [1.5]}):
        with pytest.raises(TypeError):
            Table(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="twice"):
        Table(columns=["a", "a"])
    assert Table(columns=["a"], data=[[1]]) == Table(columns=["a"], data=[[1]])
    assert Table(columns=["a"], data=[[1]]) != Table(columns=["a"], data=[[2]])


def test_kinds_survive_their_json_form() -> None:
    for value in (1, "x", None, [1, "x", None], {"a": [1], "b": {}}, np.zeros((2, 3)), [[], [1]]):
        kind = kinds.of(value)
        assert kinds.from_json(json.loads(json.dumps(kinds.to_json(kind)))) == kind


@pytest.mark.optional("pandas")
def test_data_frames_become_tables_and_back(work: Path) -> None:
    import importlib

    pandas = importlib.import_module("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], 3: [0.5, math.inf]}, index=[5, 6])
    with modelyard.init() as run:
        run.log({"frame": frame})
    found = Api().run(run.path)
    table = found.media(found.summary["frame"], work / "there")
    assert table.columns == ["a", "b", 3]
    assert table.data == [[1, "x", 0.5], [2, None, math.inf]]
    assert table.get_dataframe()["a"].tolist() == [1, 2]
    assert Table(columns=["c"], data=frame[["a"]]).columns == ["c"]
    missing = pandas.DataFrame({"whole": pandas.array([1, None], "Int64"), "float": [math.nan, 1.0]})
    assert Table(dataframe=missing).get_column("whole") == [1, None]
    assert math.isnan(Table(dataframe=missing).data[0][1])
