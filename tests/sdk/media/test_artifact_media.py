"""Media in artifacts: `artifact.add`, `artifact.get` and `artifact[name]`, on both databases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelyard
from modelyard import errors
from modelyard.data_types import Audio, Classes, Histogram, Html, Image, JoinedTable, PartitionedTable, Table
from tests.clients.commands import run_command


def _picture() -> Any:
    return np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def _table() -> Table:
    table = Table(columns=["id", "picture"])
    for number in range(3):
        table.add_data(number, Image(_picture(), caption=str(number)))
    return table


def _pixels(image: Any) -> list[Any]:
    found: list[Any] = np.asarray(image.image).tolist()
    return found


def test_media_of_a_version_come_back_by_name(work: Path) -> None:
    draft = modelyard.Artifact("samples", "dataset")
    assert draft.add(_table(), "table").path == "table.table.json"
    assert draft.add(Image(_picture(), caption="one"), "deep/one").path == "deep/one.image-file.json"
    draft["page"] = Html("<b>x</b>")
    draft.add(Histogram([1, 2], num_bins=2), "numbers")
    draft.add(Classes([{"id": 1, "name": "car"}]), "classes")
    Path("big.wav").write_bytes(b"RIFF" + bytes(1000))
    draft.add(Audio("big.wav"), "sound")
    Path("big.wav").unlink()
    for artifact in (draft, None):
        if artifact is None:
            with modelyard.init() as run:
                run.log_artifact(draft)
            artifact = modelyard.Api().artifact("samples:latest")
        table = artifact["table"]
        assert isinstance(table, Table)
        assert [row[1].caption for row in table.data] == ["0", "1", "2"]
        assert _pixels(table.data[2][1]) == _picture().tolist()
        assert artifact.get("table.table.json") == table
        one = artifact.get("deep/one")
        assert isinstance(one, Image)
        assert (one.caption, _pixels(one)) == ("one", _picture().tolist())
        assert artifact["page"].html.endswith("<b>x</b>")
        assert artifact["numbers"] == Histogram([1, 2], num_bins=2)
        assert artifact["classes"].names == {1: "car"}
        assert artifact["sound"].content.read() == b"RIFF" + bytes(1000)
        assert artifact.get("nowhere") is None
        assert len([path for path in artifact.manifest.entries if path.startswith("media/images")]) == 1
        with pytest.raises(TypeError, match="name is a str"):
            list(artifact)
    with pytest.raises(errors.ArtifactFinalizedError):
        artifact["more"] = Html("x")


def test_a_joined_table_comes_back_with_its_rows(work: Path) -> None:
    one = Table(columns=["id", "truth"], data=[[1, "a"], [2, "b"]])
    other = Table(columns=["id", "guess"], data=[[2, "c"], [1, "a"]])
    joined = JoinedTable(one, other, "id")
    draft = modelyard.Artifact("joined", "dataset")
    assert draft.add(joined, "both").path == "both.joined-table.json"
    with modelyard.init() as run:
        run.log_artifact(draft)
        run.log({"both": joined})
    found = modelyard.Api().artifact("joined:latest")["both"]
    assert isinstance(found, JoinedTable)
    assert found.rows() == [{"id": 1, "truth": "a", "guess": "a"}, {"id": 2, "truth": "b", "guess": "c"}]
    logged = modelyard.Api().run(run.path)
    assert logged.media(logged.summary["both"], "there").rows() == found.rows()
    for wrong in ((one, other, "nowhere"), (one, 3, "id"), (one, other, 3)):
        with pytest.raises((KeyError, TypeError)):
            JoinedTable(*wrong)  # type: ignore[arg-type]


def test_a_partitioned_table_has_the_rows_of_the_tables_in_a_folder(work: Path) -> None:
    draft = modelyard.Artifact("parts", "dataset")
    pictures = [Image(np.full((2, 2), number, np.uint8)) for number in range(2)]
    for number in (1, 0):
        part = Table(columns=["id", "picture"], data=[[number, pictures[number]], [number + 10, None]])
        draft.add(part, f"rows/part-{number}")
    draft.add(Table(columns=["id"], data=[[99]]), "rows-of-another")
    draft.add(PartitionedTable("rows/"), "all")
    truth = Table(columns=["id", "truth"], data=[[10, "a"], [1, "b"]])
    draft.add(JoinedTable(PartitionedTable("rows"), truth, "id"), "judged")
    with modelyard.init() as run:
        run.log_artifact(draft)
    for artifact in (draft, modelyard.Api().artifact("parts:latest")):
        found = artifact["all"]
        assert isinstance(found, PartitionedTable)
        assert [(number, row[0]) for number, row in found.iterrows()] == [(0, 0), (1, 10), (2, 1), (3, 11)]
        assert found.table().data[2][1] == pictures[1]
        judged = artifact["judged"].rows()
        assert [(row["id"], row["truth"]) for row in judged] == [(10, "a"), (1, "b")]


def test_parts_of_a_table_that_do_not_fit_are_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draft = modelyard.Artifact("parts", "dataset")
    for name in ("a", "b"):
        draft.add(Table(columns=[name], data=[[1]]), f"rows/{name}")
    draft.add(PartitionedTable("rows"), "all")
    with pytest.raises(ValueError, match=r"rows/b.table.json has the columns \['b'\]"):
        list(draft["all"].iterrows())
    with pytest.raises(TypeError, match="in an artifact"):
        PartitionedTable("rows").table()
    with pytest.raises(ValueError, match="path of a folder"):
        PartitionedTable("/")
    with modelyard.init() as run:
        run.log({"all": PartitionedTable("rows"), "kept": 1})
    assert "belongs into an artifact" in capsys.readouterr().err
    assert run.summary["kept"] == 1


def test_a_name_is_taken_once_unless_it_is_replaced(work: Path) -> None:
    draft = modelyard.Artifact("names", "dataset")
    draft.add(Html("one"), "page")
    with pytest.raises(ValueError, match="overwrite=True"):
        draft.add(Html("two"), "page")
    draft.add(Html("two"), "page", overwrite=True)
    assert draft["page"].html.endswith("two")
    with pytest.raises(TypeError, match="must be a Media"):
        draft.add("text", "text")  # type: ignore[arg-type]
    for name in ("../up", "/absolute", ""):
        with pytest.raises(ValueError, match=r"must be relative|no name"):
            draft.add(Html("x"), name)


def test_media_of_an_offline_artifact_arrive_with_sync(work: Path) -> None:
    with modelyard.init(mode="offline") as run:
        artifact = modelyard.Artifact("samples", "dataset")
        artifact.add(_table(), "table")
        run.log_artifact(artifact)
    assert run_command("sync").returncode == 0
    path = f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/samples:v0"
    table = modelyard.Api().artifact(path)["table"]
    assert isinstance(table, Table)
    assert _pixels(table.data[0][1]) == _picture().tolist()
