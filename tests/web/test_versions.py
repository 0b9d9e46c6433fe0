"""Versions in a browser: compared, drawn across a registered model, and large ones."""

from __future__ import annotations

import datetime
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

import modelyard
from modelyard.artifacts.artifact import Artifact
from modelyard.v1 import model_artifact_pb2 as pb
from modelyard.v1 import registered_model_pb2 as model_pb
from modelyard.v1 import run_pb2, value_pb2
from modelyard_server.db.engine import Database
from modelyard_server.db.ids import new_id
from modelyard_server.db.tables import ArtifactVersion, Lineage, Link
from tests.clients import fast_upload
from tests.inprocess.bulk_rows import store
from tests.inprocess.databases import opened
from tests.parts.server import LiveServer, Stubs
from tests.web.chromium import Visit
from tests.web.test_walks import page, script, server, visit

__all__ = ["page", "script", "server", "visit"]

FILES, NODES = 10_000, 2_000
ACCURACY = {"acc": value_pb2.AnyValue(double_value=0.5)}


@pytest.fixture
def stubs(web_server: LiveServer) -> Stubs:
    return web_server.stubs()


def log(
    project: str, name: str, files: dict[str, str], metadata: dict[str, object], **results: float
) -> Artifact:
    """A version of a model by a run of its own with these results."""
    with modelyard.init(project=project, name=f"trainer of {name}") as run:
        run.log(results)
        artifact = modelyard.Artifact(name, "model", metadata=metadata)
        for path, text in files.items():
            with artifact.new_file(path) as file:
                file.write(text)
        return run.log_artifact(artifact).wait()


def row(page: Page, region: str, text: str) -> Locator:
    return page.get_by_role("region", name=region).get_by_role("row").filter(has_text=text)


def test_a_version_is_compared_with_any_other(page: Page, visit: Visit, script: Path) -> None:
    log("changed", "net", {"w": "1", "old": "x", "same": "s"}, {"lr": 0.1, "seed": 1}, loss=0.5)
    log("changed", "net", {"w": "22", "same": "s"}, {"lr": 0.1}, loss=0.75)
    log("changed", "net", {"w": "333", "same": "s", "new": "n"}, {"lr": 0.3}, loss=0.25)
    log("elsewhere", "other", {"same": "s"}, {})
    visit.expected = ["404"]
    page.goto("/local/changed/artifacts/model/net/v2")
    page.get_by_role("tab", name="Compare").click()
    expect(page.get_by_text("1 added, 1 changed")).to_be_visible()
    changed = row(page, "Files that differ", "changed")
    expect(changed.get_by_role("cell")).to_have_text(["changed", "w", "2 B", "3 B", "3 B"])
    expect(row(page, "Differences of the metadata", "lr").get_by_role("cell")).to_have_text(
        ["0.1", "0.3", "+0.2"]
    )
    expect(row(page, "Differences of the results", "loss").get_by_role("cell")).to_have_text(
        ["0.75", "0.25", "−0.5"]
    )
    page.get_by_role("button", name=re.compile("^Compare with")).click()
    page.get_by_role("option", name="v0").click()
    expect(page.get_by_text("1 added, 1 removed, 1 changed")).to_be_visible()
    expect(row(page, "Differences of the metadata", "seed").get_by_role("cell")).to_have_text(["1", "—", ""])
    assert page.url.endswith("?with=local%2Fchanged%2Fnet%3Av0")
    other = page.get_by_label("or any version")
    other.fill("elsewhere/other:v0")
    other.press("Enter")
    expect(row(page, "Files that differ", "added")).to_have_count(2)
    assert visit.violations() == []
    other.fill("elsewhere/other:v7")
    other.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("v7")


def test_a_number_is_drawn_across_the_versions_of_a_model(page: Page, visit: Visit, script: Path) -> None:
    for number in range(8):
        version = log("across", "curve", {"w": str(number)}, {"acc": number / 10}, loss=1 - number / 10)
        version.link("model-registry/Across", aliases=["production"] if number == 4 else [])
    page.goto("/local/model-registry/models/Across")
    drawn = page.get_by_role("group", name="loss: from 1 at v0 to 0.3 at v7")
    expect(drawn.get_by_role("link")).to_have_count(8)
    expect(drawn.get_by_role("link", name="v4: 0.6, production")).to_be_visible()
    expect(row(page, "Versions", "production")).to_contain_text("0.6")
    page.get_by_label("Number to show").select_option("acc")
    drawn = page.get_by_role("group", name="acc: from 0 at v0 to 0.7 at v7")
    expect(row(page, "Versions", "production")).to_contain_text("0.4")
    assert visit.violations() == []
    filter_ = page.get_by_role("textbox", name="Filter")
    filter_.fill("source.metadata.acc >= 0.6")
    filter_.press("Enter")
    expect(page.get_by_text("2 found")).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^View v"))).to_have_count(2)
    expect(drawn.get_by_role("link")).to_have_count(8)
    drawn.get_by_role("link", name="v4: 0.4, production").click()
    expect(page.get_by_role("heading", name="Across:v4")).to_be_visible()


def test_what_was_in_production_on_a_date_is_told_after_deletes_and_a_new_name(
    page: Page, script: Path
) -> None:
    first = log("dates", "dated", {"w": "1"}, {})
    first.link("model-registry/Dated", aliases=["production"])
    second = log("dates", "dated", {"w": "2"}, {})
    second.link("model-registry/Dated", aliases=["production"])
    api = modelyard.Api()
    moved = {
        change.version: change.create_time for change in api.registered_model("Dated").history("production")
    }
    second.delete(delete_aliases=True)
    model = api.registered_model("Dated")
    model.name = "Renamed"
    model.save()
    answer = page.locator(".answer").get_by_role("status")
    for version in ("v0", "v1"):
        at = (moved[version] + datetime.timedelta(milliseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        page.goto(f"/local/model-registry/models/Renamed?on={at}")
        expect(page.get_by_text(re.compile("^On "))).to_be_visible()
        expect(answer).to_contain_text(f"production{version}")
    page.goto("/local/model-registry/models/Renamed")
    expect(page.get_by_text("Now", exact=True)).to_be_visible()
    expect(answer).to_have_text("latestv0 (moves by itself)")
    expect(page.get_by_role("listitem").filter(has_text="production")).to_contain_text(
        ["v1 → none", "v0 → v1", "none → v0"]
    )


def test_files_of_many_kinds_are_previewed(page: Page, script: Path) -> None:
    tensors = json.dumps({"fc.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    out = Path("out")
    out.mkdir()
    (out / "rows.csv").write_text('name,score\n"Doe, J.",0.5\n')
    (out / "rows.tsv").write_text("name\tscore\nRoe\t0.75\n")
    (out / "notes.md").write_text("# Notes\n\nThey are **short**.\n")
    (out / "small.json").write_text('{"a": [1]}')
    (out / "long.txt").write_text("line\n" * 20_000)
    (out / "blob.bin").write_bytes(bytes(100))
    (out / "w.safetensors").write_bytes(struct.pack("<Q", len(tensors)) + tensors + bytes(24))
    Image.new("RGB", (9, 9), "red").save(out / "dot.png")
    with modelyard.init(project="kinds") as run:
        run.log_artifact("out", name="kinds", type="dataset").wait()
    for file, seen in {
        "rows.csv": page.get_by_role("cell", name="Doe, J."),
        "rows.tsv": page.get_by_role("cell", name="0.75"),
        "notes.md": page.locator("strong").get_by_text("short"),
        "small.json": page.locator("pre").get_by_text(re.compile(r'\{\n  "a": \[')),
        "long.txt": page.get_by_text("The first 64 KB are shown."),
        "blob.bin": page.get_by_text("There is no preview of this kind of file."),
        "w.safetensors": page.get_by_role("row").filter(has_text="fc.weight").get_by_text("2 × 3"),
        "dot.png": page.get_by_role("img", name="dot.png"),
    }.items():
        page.goto(f"/local/kinds/artifacts/dataset/kinds/v0/files?file={file}")
        expect(seen).to_be_visible()
    expect(page.get_by_role("img", name="dot.png")).to_have_js_property("naturalWidth", 9)


def test_ten_thousand_files_are_scrolled_and_searched(page: Page, stubs: Stubs) -> None:
    same, read = b"the same content", b"# All of them"
    upload = fast_upload.create(stubs, project="many")
    fast_upload.send(stubs, upload, [same, read])
    entries = [fast_upload.entry(f"rows/{number:05}.txt", [same]) for number in range(FILES)]
    header = pb.VersionHeader(project="many", name="files")
    fast_upload.commit(stubs, upload, header, [*entries, fast_upload.entry("readme.md", [read])])
    page.goto("/local/many/artifacts/model/files/v0/files")
    expect(page.get_by_role("heading", name="All of them")).to_be_visible()
    page.get_by_role("button", name=re.compile("^rows")).click()
    expect(page.get_by_role("button", name="00000.txt")).to_be_visible()
    tree = page.locator(".files-tree")
    assert tree.get_by_role("button").count() < 500
    tree.evaluate("element => element.scrollTo(0, element.scrollHeight)")
    expect(page.get_by_role("button", name="09999.txt")).to_be_visible()
    page.get_by_label("Filter files").fill("04321")
    page.get_by_role("button", name="rows/04321.txt").click()
    expect(page.locator("pre")).to_have_text("the same content")
    assert page.url.endswith("?file=rows%2F04321.txt")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server on which one run has made v0 to v1999 of `made`, all linked to the registered model `Made`."""
    server = LiveServer(tmp_path_factory.mktemp("large"), "--web-port", "0")
    try:
        stubs = server.start().stubs()
        run = stubs.runs.CreateRun(run_pb2.CreateRunRequest(run=run_pb2.Run(project="wide"))).run
        header = pb.VersionHeader(project="wide", name="made", run_id=run.id, metadata=ACCURACY)
        entries = [pb.ManifestEntry(path="x", reference_uri="test://x")]
        request = pb.CommitEqualContentRequest(header=header, entries=entries)
        made = stubs.artifacts.CommitEqualContent(request).version
        link = model_pb.LinkModelArtifactVersionRequest(id=made.id, target_ref="model-registry/Made")
        linked = stubs.registry.LinkModelArtifactVersion(link).version
        server.stop()
        with opened(f"sqlite:///{server.data / 'modelyard.db'}") as database:
            multiply(database, run.id, made.id, linked.id)
        yield server.start()
    finally:
        server.close()


def multiply(database: Database, run_id: str, version_id: str, link_id: str) -> None:
    """Adds copies of a version, each with a link and as an output of the run."""

    def columns(kind: Any, row_id: str) -> dict[str, Any]:
        row = database.read(lambda session: session.get_one(kind, row_id))
        return {column.key: getattr(row, column.key) for column in kind.__table__.columns}

    version, link = columns(ArtifactVersion, version_id), columns(Link, link_id)
    ids = [(number, new_id()) for number in range(1, NODES)]
    store(database, ArtifactVersion, [{**version, "id": id_, "number": number} for number, id_ in ids])
    links = [{**link, "id": new_id(), "number": number, "version_id": id_} for number, id_ in ids]
    store(database, Link, links)
    edge = {"run_id": run_id, "relation": "output", "use_as": "", "created_at": version["created_at"]}
    store(database, Lineage, [{**edge, "version_id": id_} for _, id_ in ids])


@pytest.fixture
def of_large(chromium: Browser, large: LiveServer) -> Iterator[Visit]:
    """A visit to the server with many versions, at the end of which nothing has gone wrong."""
    visit = Visit(chromium, large.web_url)
    yield visit
    assert visit.violations() == []
    visit.close()
    assert visit.problems == []


def test_two_thousand_versions_of_a_model_are_scrolled(of_large: Visit) -> None:
    page = of_large.page
    page.goto("/local/model-registry/models/Made")
    expect(page.get_by_role("link", name="View v1999")).to_be_visible()
    drawn = page.get_by_role("group", name="acc: from 0.5 at v0 to 0.5 at v1999")
    expect(drawn.locator("circle")).to_have_count(NODES)
    rows = page.get_by_role("region", name="Versions").get_by_role("row")
    assert rows.count() < 200
    page.get_by_role("heading", name="History").scroll_into_view_if_needed()
    expect(page.get_by_role("link", name="View v0", exact=True)).to_be_visible()
    assert rows.count() < 200


def test_a_lineage_of_two_thousand_versions_answers(of_large: Visit) -> None:
    page = of_large.page
    page.goto("/local/wide/artifacts/model/made/v7/lineage")
    map_ = page.get_by_role("region", name="Lineage map")
    expect(page.get_by_text(f"14 of {NODES + 1:,} runs and versions")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(page.get_by_role("group", name=f"{NODES + 1} runs and versions")).to_be_visible()
    expect(page.get_by_text(f"{NODES + 1:,} runs and versions", exact=True)).to_be_visible()
    assert map_.get_by_role("link").count() < 200
    map_.evaluate("element => element.scrollTo(element.scrollWidth, element.scrollHeight)")
    expect(map_.get_by_role("link", name=re.compile("made:v"))).not_to_have_count(0)
    page.get_by_role("button", name="Smaller").click()
    page.get_by_role("button", name="Fit").click()
    page.get_by_role("button", name="Show less").click()
    expect(page.get_by_text(f"14 of {NODES + 1:,} runs and versions")).to_be_visible()
    map_.get_by_role("button", name=re.compile("^Hide what")).first.click()
    expect(map_.get_by_role("button", name="Show 1 hidden")).to_be_visible()
    map_.get_by_role("button", name="Show 1 hidden").click()
    page.get_by_role("button", name="List").click()
    expect(page.locator(".lin-list").get_by_role("link", name=re.compile("running$"))).to_be_visible()
    assert page.get_by_role("listitem").count() < 500
