"""The walks of the documentation, in a browser: what a person clicks, begun by what a script did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import modelyard
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer
from tests.web.chromium import Visit

MODEL = "MNIST-dev"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> LiveServer:
    """The server of a walk: over SQLite and a folder, unless a parameter names another fixture."""
    found: LiveServer = request.getfixturevalue(getattr(request, "param", "web_server"))
    return found


@pytest.fixture
def script(server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which this process is a script that calls the server."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", server.url)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield work
    modelyard.finish()


@pytest.fixture
def visit(chromium: Browser, server: LiveServer) -> Iterator[Visit]:
    visit = Visit(chromium, server.web_url)
    yield visit
    visit.close()
    assert visit.problems == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def log_model(project: str, name: str, content: str = "weights") -> None:
    Path("model.bin").write_text(content)
    with modelyard.init(project=project) as run:
        run.log_model("model.bin", name=name)


@pytest.mark.parametrize("server", ["web_server", "production_web_server"], indirect=True)
def test_from_the_registry_to_the_source_of_a_version(page: Page, script: Path) -> None:
    Path("model.h5").write_text("weights")
    with modelyard.init(project="mnist") as run:
        run.log({"acc": 0.9})
        run.link_model("model.h5", MODEL, name="mnist_model", aliases=["staging"])
    page.goto("/registry/model")
    expect(page.get_by_role("row").filter(has_text=MODEL)).to_contain_text("staging")
    page.get_by_role("link", name=f"View details of {MODEL}").click()
    expect(page.get_by_role("heading", name="Versions", exact=True)).to_be_visible()
    page.get_by_role("link", name="View v0").click()
    expect(page.get_by_role("tab", name="Version", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("heading", name="Version overview")).to_be_visible()
    expect(page.get_by_text("Source Version")).to_be_visible()
    page.get_by_role("link", name="mnist_model:v0").click()
    expect(page.get_by_role("heading", name="mnist_model:v0")).to_be_visible()
    assert page.url.endswith("/local/mnist/artifacts/model/mnist_model/v0")
    page.get_by_role("link", name=f"{MODEL}:v0").click()
    expect(page.get_by_role("heading", name=f"{MODEL}:v0")).to_be_visible()


def test_a_version_is_linked_by_the_menu_of_a_registered_model(page: Page, script: Path) -> None:
    log_model("menu", "menu_model", "one")
    modelyard.Api().create_registered_model("Menu")
    page.goto("/registry/model")
    page.get_by_role("button", name="More for Menu").click()
    page.get_by_role("menuitem", name="Link new version").click()
    dialog = page.get_by_role("dialog", name="Link new version")
    for label, choice in (("Project", "menu"), ("Model Artifact", "menu_model"), ("Version", "v0")):
        dialog.get_by_role("button", name=re.compile(f"^{label}")).click()
        dialog.get_by_role("option", name=choice).first.click()
    dialog.get_by_label("Aliases").fill("candidate")
    dialog.get_by_role("button", name="Link to registry").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("Linked as Menu:v0")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Menu")).to_contain_text("candidate")
    (linked,) = modelyard.Api().artifact_collection("model", "model-registry/Menu").artifacts()
    assert (linked.source_name, "candidate" in linked.aliases) == ("menu_model:v0", True)


def test_a_version_is_linked_from_the_artifacts_of_its_project(page: Page, script: Path) -> None:
    log_model("browse", "browse_model", "two")
    modelyard.Api().create_registered_model("Browsed")
    page.goto("/local/browse/artifacts")
    page.get_by_role("link", name=re.compile("browse_model")).click()
    page.get_by_role("link", name=re.compile("^v0")).click()
    expect(page.get_by_role("heading", name="Version overview")).to_be_visible()
    expect(page.get_by_text("not linked")).to_be_visible()
    page.get_by_role("button", name="Link to registry").click()
    dialog = page.get_by_role("dialog", name="Link to registry")
    dialog.get_by_role("button", name="Select a registered model").click()
    dialog.get_by_role("option", name="Browsed").click()
    dialog.get_by_role("button", name="Next step").click()
    dialog.get_by_label("Aliases").fill("production")
    dialog.get_by_role("button", name="Link to registry").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("definition").get_by_role("link", name="Browsed:v0").click()
    expect(page.get_by_role("heading", name="Browsed:v0")).to_be_visible()
    assert modelyard.Api().artifact("model-registry/Browsed:production").source_name == "browse_model:v0"


def test_a_registered_model_is_made_with_its_card(page: Page, visit: Visit, script: Path) -> None:
    card = "One of **11 reasons**\n\n<img src=x onerror=alert(1)>"
    visit.expected = ["409"]  # Chromium reports refusals of calls, too
    log_model("other", "keeps_the_list_full")
    modelyard.Api().create_registered_model("Something")
    page.goto("/registry/model")
    page.get_by_role("button", name="New registered model").click()
    dialog = page.get_by_role("dialog", name="New registered model")
    dialog.get_by_label("Name").fill("Return reasons")
    dialog.get_by_label("Tags").fill("returns")
    dialog.get_by_label("Tags").press("Enter")
    dialog.get_by_label("Card").fill(card)
    expect(dialog.get_by_role("region", name="Preview").locator("strong")).to_have_text("11 reasons")
    dialog.get_by_role("button", name="New registered model").click()
    expect(page.get_by_role("heading", name="Return reasons")).to_be_visible()
    made = modelyard.Api().artifact_collection("model", "model-registry/Return reasons")
    assert (made.tags, made.description) == (
        ["returns"],
        "One of **11 reasons**\n\n<img src=x onerror=alert(1)>",
    )
    page.get_by_role("link", name="Registry").first.click()
    page.get_by_role("button", name="New registered model").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Return reasons")
    page.get_by_role("dialog").get_by_role("button", name="New registered model").click()
    expect(page.get_by_role("alert")).to_contain_text("ALREADY_EXISTS")


def test_charts_of_runs_follow_what_is_logged(page: Page, script: Path) -> None:
    with modelyard.init(project="curves", name="first") as run:
        for step in range(50):
            run.log({"loss": 1 - step / 100})
    with modelyard.init(project="curves", name="second") as run:
        run.log({"loss": 0.75})
        page.goto("/local/curves")
        chart = page.get_by_role("img", name=re.compile("^loss by step"))
        expect(chart).to_have_attribute("aria-label", re.compile("first ends at 0.51"))
        expect(chart).to_have_attribute("aria-label", re.compile("second ends at 0.75"))
        run.log({"loss": 0.25})
        expect(chart).to_have_attribute("aria-label", re.compile("second ends at 0.25"))
        expect(page.get_by_role("row").filter(has_text="second")).to_contain_text("running")
    expect(page.get_by_role("row").filter(has_text="second")).to_contain_text("finished")
    for name in ("first", "second"):
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", name="2 runs compared")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="loss")).to_contain_text("0.25 best")


def test_sample_predictions_of_two_runs_stand_side_by_side(page: Page, script: Path) -> None:
    for name in ("rotated", "plain"):
        with modelyard.init(project="samples", id=name, name=name) as run:
            for step in range(3):
                image = modelyard.Image(np.full((8, 8), 0.1 * step), caption=f"{name} at {step}")
                run.log({"predictions": image, "scores": modelyard.Histogram([1, 2, 2])})
            run.log({"fields": modelyard.Table(columns=["read"], data=[["<b>40718</b>"]])})
    page.goto("/local/samples/compare?runs=rotated,plain")
    for name in ("rotated", "plain"):
        picture = page.get_by_role("img", name=f"{name} at 2")
        expect(picture).to_be_visible()
        expect(picture).to_have_js_property("naturalWidth", 8)
    slider = page.locator(".media-key").filter(has_text="predictions").get_by_role("slider")
    slider.focus()
    slider.press("Home")
    expect(page.get_by_role("img", name="rotated at 0")).to_be_visible()
    expect(page.get_by_role("img", name="plain at 0")).to_be_visible()
    expect(page.get_by_role("img", name="Histogram from 1 to 2")).to_have_count(2)
    expect(page.get_by_role("cell", name="<b>40718</b>")).to_have_count(2)


def test_history_and_lineage_of_a_model(page: Page, script: Path) -> None:
    for number in range(2):
        Path("model.bin").write_text(f"weights {number}")
        with modelyard.init(project="history", name=f"trainer {number}") as run:
            run.link_model("model.bin", "Moved", name="moved", aliases=["production"])
    with modelyard.init(project="history", name="reader") as run:
        run.use_model("moved:v1")
    page.goto("/local/model-registry/models/Moved")
    expect(page.get_by_role("listitem").filter(has_text="production")).to_contain_text(
        ["v0 → v1", "none → v0"]
    )
    slider = page.get_by_role("slider")
    expect(page.get_by_text("Now", exact=True)).to_be_visible()
    slider.focus()
    slider.press("Home")
    answer = page.locator(".answer")
    expect(answer.get_by_role("status")).to_contain_text("v0")
    slider.press("End")
    expect(answer.get_by_role("status")).to_contain_text("productionv1")
    page.get_by_role("link", name="View v1").click()
    page.get_by_role("tab", name="Lineage").click()
    map_ = page.get_by_role("region", name="Lineage map")
    expect(map_.get_by_role("link", name=re.compile("trainer 1"))).to_be_visible()
    map_.get_by_role("link", name=re.compile("reader")).click()
    expect(page.get_by_role("heading", name="reader")).to_be_visible()


def test_files_are_shown_as_text_and_downloaded(page: Page, script: Path) -> None:
    Path("out").mkdir()
    Path("out/config.json").write_text(json.dumps({"lr": 0.1}))
    Path("out/page.html").write_text("<script>document.title = 'taken'</script>")
    with modelyard.init(project="files") as run:
        run.log_model("out", name="files")
    page.goto("/local/files/artifacts/model/files/v0/files")
    expect(page.locator("pre")).to_contain_text('"lr": 0.1')
    page.get_by_role("button", name="page.html").click()
    expect(page.locator("pre")).to_contain_text("<script>document.title")
    assert "taken" not in page.title()


def test_what_others_do_appears_by_itself(page: Page, script: Path) -> None:
    modelyard.Api().create_registered_model("Watched")
    page.goto("/local/model-registry/models/Watched")
    expect(page.get_by_text("No version yet")).to_be_visible()
    Path("model.bin").write_text("new")
    with modelyard.init(project="watched") as run:
        run.link_model("model.bin", "Watched", name="watched", aliases=["staging"])
    expect(page.get_by_role("link", name="View v0")).to_be_visible()
    expect(page.locator(".stand")).to_contain_text("staging")
