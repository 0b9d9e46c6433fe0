"""How a lineage is drawn: as a tree, as DOT, as Mermaid."""

from __future__ import annotations

import pytest

from modelyard.query.lineage import Lineage, LineageEdge, LineageRun, LineageVersion

RAW = LineageVersion("d", "acme/churn/raw:v0", "dataset", True, ())
MODEL = LineageVersion("m", "acme/churn/bert:v3", "model", False, ("acme/model-registry/Churn:v1",))
TRAIN = LineageRun("t", "acme/churn/abc", "swift-sea-1", "finished", False)
TEST = LineageRun("e", "acme/churn/xyz", 'a "quoted" name', "failed", False)
EDGES = (
    LineageEdge("t", "d", "input", "training set"),
    LineageEdge("t", "m", "output"),
    LineageEdge("e", "m", "input"),
    LineageEdge("e", "d", "input", "test set"),
)


def graph(start: str, truncated: bool = False) -> Lineage:
    """Training and test use the raw data; the model stands between them."""
    return Lineage(start, (TRAIN, TEST), (RAW, MODEL), EDGES, truncated)


def test_the_tree_shows_every_edge_once() -> None:
    assert str(graph("m")).splitlines() == [
        "acme/churn/bert:v3 (model) → acme/model-registry/Churn:v1",
        "├─ made by acme/churn/abc (swift-sea-1, finished)",
        "│  └─ used as training set acme/churn/raw:v0 (dataset, deleted)",
        '│     └─ used as test set by acme/churn/xyz (a "quoted" name, failed)',
        "└─ used by acme/churn/xyz (above)",
    ]


def test_the_tree_starts_at_a_run_too_and_says_when_it_was_cut() -> None:
    lines = str(graph("t", truncated=True)).splitlines()
    assert lines[0] == "acme/churn/abc (swift-sea-1, finished)"
    assert lines[1].startswith("├─ used as training set acme/churn/raw:v0")
    assert "cut at 10,000" in lines[-1]
    assert str(Lineage("nowhere", (), (), ())) == ""


def test_dot_points_the_way_the_data_went() -> None:
    text = graph("m").to_dot()
    assert text.startswith("digraph lineage {")
    assert text.endswith("}")
    assert '"d" -> "t" [label="training set"];' in text
    assert '"t" -> "m";' in text
    assert r'label="a \"quoted\" name\nacme/churn/xyz"' in text
    assert 'shape=box, label="acme/churn/raw:v0\\ndataset", style=dashed' in text


def test_mermaid_points_the_way_the_data_went() -> None:
    lines = graph("m").to_mermaid().splitlines()
    assert lines[0] == "flowchart LR"
    names = {part.split("(")[0].split("[")[0].strip(): part for part in lines[1:5]}
    assert 'n0(["swift-sea-1<br/>acme/churn/abc"])' in names["n0"]
    assert "&quot;quoted&quot;" in names["n1"]
    assert '  n2 -->|"training set"| n0' in lines
    assert "  n0 --> n3" in lines
    assert "  class n2 deleted" in lines


@pytest.mark.parametrize("start", ["m", "d", "t", "e"])
def test_json_has_all_of_it(start: str) -> None:
    plain = graph(start).to_json()
    assert plain["start"] == start
    assert len(plain["runs"]) == len(plain["versions"]) == 2
    assert plain["edges"][0] == {
        "run_id": "t",
        "version_id": "d",
        "relation": "input",
        "use_as": "training set",
    }
    assert plain["versions"][1]["linked_to"] == ["acme/model-registry/Churn:v1"]
