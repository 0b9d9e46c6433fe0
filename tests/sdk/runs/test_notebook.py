"""Notebooks: executed as people do it, every object that is shown has HTML, and texts are escaped."""

from __future__ import annotations

import json
import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import nbclient
import nbconvert
import nbformat
import pytest

import modelyard
from modelyard import Artifact
from modelyard.host import notebook

CELLS = """
import modelyard as wandb
run = wandb.init(project="notes", config={"lr": 0.1}, name="<script>alert(1)</script>")
run
---
for step in range(20):
    run.log({"loss": 1 / (step + 1), "<i>": step})
open("model.bin", "wb").write(os.urandom(40_000_000))
run.log_model("model.bin", name="digits", aliases=["best"])
---
draft = wandb.Artifact("draft", "dataset", description="<u>")
draft
---
run.use_artifact("digits:best")
---
second = wandb.init(project="notes", config={"lr": 0.2})
second.config.lr = 0.3
second.finish()
---
api = wandb.Api()
api
---
api.run(run.path)
---
api.runs(f"{run.entity}/{run.project}")
---
api.artifact_collection("model", f"{run.entity}/{run.project}/digits")
---
api.run(run.path).lineage()
---
from modelyard.transfer.progress import NotebookBar
moving, over, quick = NotebookBar(show_after=0), NotebookBar(show_after=0), NotebookBar(show_after=60)
for bar in (moving, over, quick):
    bar.start("upload <b>", 200)
    bar.advance(50)
over.close()
quick.close()
---
import json
print(json.dumps([file.name for file in api.run(second.path).files(pattern="code/%")]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebook runs, and its results stay."""
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def outputs(folder: Path, embedded_folder: Path) -> list[list[dict[str, Any]]]:
    """The outputs of each cell, after an execution."""
    cells = [nbformat.v4.new_code_cell(source) for source in f"import os{CELLS}".split("---\n")]
    book = nbformat.v4.new_notebook(cells=cells)
    settings = {
        name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "WANDB_"))
    }
    settings |= {
        "MODELYARD_DATA_DIR": str(embedded_folder),
        "MODELYARD_CACHE_DIR": str(folder / "cache"),
        "MODELYARD_CONFIG_DIR": str(folder / "config"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "MODELYARD_SAVE_CODE": "true",
        "WANDB_NOTEBOOK_NAME": "book",
    }
    (folder / "book.ipynb").write_text(nbformat.writes(book))
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": folder}}).execute(env=settings)
    (folder / "book.ipynb").write_text(nbformat.writes(book))
    return [cell.outputs for cell in json.loads(nbformat.writes(book), object_hook=_Attributes)["cells"]]


class _Attributes(dict[str, Any]):
    """Entries as attributes too."""

    __getattr__ = dict.__getitem__


def _html(outputs: list[dict[str, Any]]) -> list[str]:
    found = [output["data"].get("text/html", "") for output in outputs if "data" in output]
    return ["".join(html) for html in found if html]


def test_a_run_shows_where_it_goes_and_how_it_is_seen(outputs: list[list[dict[str, Any]]]) -> None:
    started, shown = _html(outputs[0])
    for html in (started, shown):
        assert "<script>" not in html
        assert "<script>alert(1)</script>" in unescape(html)
        assert "<code>modelyard open local/notes/" in html
    assert "data in" in started
    assert "lr = 0.1" in shown


def test_nothing_is_printed_on_stderr(outputs: list[list[dict[str, Any]]]) -> None:
    printed = [
        "".join(output["text"]) for cell in outputs for output in cell if output.get("name") == "stderr"
    ]
    assert printed == []


def test_the_notebook_is_kept_as_a_file_of_its_runs(outputs: list[list[dict[str, Any]]]) -> None:
    assert json.loads("".join(outputs[-1][0]["text"])) == ["code/book.ipynb"]


def test_artifacts_show_what_they_are(outputs: list[list[dict[str, Any]]]) -> None:
    draft, logged = _html(outputs[2])[-1], _html(outputs[3])[-1]
    assert "dataset draft" in draft
    assert "model digits:v0" in logged
    assert "best, latest" in logged
    assert "38.1 MiB" in logged


def test_a_cell_that_is_run_again_ends_the_run_before(outputs: list[list[dict[str, Any]]]) -> None:
    ended, started, ended_again = _html(outputs[4])
    assert "is finished" in ended
    assert re.search("[▁▂▃▄▅▆▇█]{10}", ended)
    assert "20 metric rows" in ended
    assert "Started run" in started
    assert "is finished" in ended_again


@pytest.mark.parametrize(
    ("cell", "part"),
    [(5, "<code>modelyard ls</code>"), (6, "finished"), (7, "State"), (8, "Versions"), (9, "<pre>")],
)
def test_what_api_returns_shows_something(outputs: list[list[dict[str, Any]]], cell: int, part: str) -> None:
    html = _html(outputs[cell])[-1]
    assert len(html) > 50
    assert part in html
    assert "<script>" not in html


def test_the_notebook_can_be_converted_to_a_page(outputs: list[list[dict[str, Any]]], folder: Path) -> None:
    page, _ = nbconvert.HTMLExporter(template_name="basic").from_filename(str(folder / "book.ipynb"))
    assert "<script>alert(1)" not in page
    assert page.count('class="modelyard"') >= 8


def test_the_bar_of_a_transfer_moves_and_disappears(outputs: list[list[dict[str, Any]]]) -> None:
    shown = _html(outputs[10])
    assert len(shown) == 1, "one is over and was removed, one was over before it was shown"
    assert 'value="50" max="200"' in shown[0]
    assert "upload &lt;b&gt;" in shown[0]


def test_outside_of_notebooks_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    notebook.say(["one", "two"], "<b>")
    assert capsys.readouterr().err == "modelyard: one\nmodelyard: two\n"


def test_cards_of_runs_and_drafts_work_without_a_notebook(embedded: Path) -> None:
    with modelyard.init(mode="disabled", name="a & b") as run:
        assert "Run a &amp; b" in run._repr_html_()
        assert "v0" in run.log_artifact(Artifact("m", "model"))._repr_html_()
