"""What holds for every view: readable for everybody, safe with hostile names, alive after breaks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import modelyard
from tests.parts.embedded import isolate
from tests.parts.server import Factory, LiveServer, create_key
from tests.web.chromium import DESKTOP, PHONE, Visit

HOSTILE = "<img src=x onerror=document.title='taken'>"
VIEWS = {
    "registry": ("/registry/model", "Registered models"),
    "model": ("/local/model-registry/models/Seen", "Versions"),
    "link": ("/local/model-registry/models/Seen/v0", "Version overview"),
    "metadata": ("/local/model-registry/models/Seen/v0/metadata", "Seen:v0"),
    "files": ("/local/model-registry/models/Seen/v0/files", "Seen:v0"),
    "changes": ("/local/model-registry/models/Seen/v1/compare", "Files"),
    "lineage": ("/local/model-registry/models/Seen/v0/lineage", "Seen:v0"),
    "usage": ("/local/model-registry/models/Seen/v0/usage", "Python"),
    "artifacts": ("/local/views/artifacts/model/seen/v0", "Version overview"),
    "runs": ("/local/views", "Runs"),
    "run": ("/local/views/runs/one", "first"),
    "overview": ("/local/views/runs/one/overview", "Config"),
    "media": ("/local/views/runs/one/media", "first"),
    "console": ("/local/views/runs/one/console", "first"),
    "compare": ("/local/views/compare?runs=one,two", "2 runs compared"),
    "nothing": ("/no/such/page/at/all", ""),
}


@pytest.fixture(scope="module")
def seen(web_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """A server with something in every view, also names and texts that try to be markup."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("seen")
        isolate(patch, folder)
        patch.setenv("MODELYARD_URL", web_server.url)
        patch.chdir(folder)
        Path("out").mkdir()
        Path("out/readme.md").write_text(f"# Title\n\n{HOSTILE}\n")
        Path("out/rows.csv").write_text("a,b\n1,2\n")
        for number, (id_, name) in enumerate({"one": "first", "two": HOSTILE}.items()):
            config = {"lr": 0.1 / (number + 1), "note": HOSTILE, "nested": {"a": [1, 2]}}
            with modelyard.init(project="views", id=id_, name=name, config=config, notes=HOSTILE) as run:
                print(HOSTILE)
                run.log({"shown": modelyard.Image(np.eye(8), caption=HOSTILE)})
                for step in range(30):
                    run.log({"val/loss": 1 / (step + 1), "acc": step / 30})
                artifact = modelyard.Artifact("seen", "model", HOSTILE, {"key": HOSTILE, "acc": number})
                Path("out/model.bin").write_text(f"weights {number}")
                artifact.add_dir("out")
                run.log_artifact(artifact).wait()
                run.link_artifact(artifact, "model-registry/Seen", aliases=["production"])
        model = modelyard.Api().artifact_collection("model", "model-registry/Seen")
        model.description = (
            f"{HOSTILE}\n\n[a](javascript:alert(1)) **bold**\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
        )
        model.save()
        modelyard.finish()
    return web_server


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_accessible_and_takes_markup_as_text(
    chromium: Browser, seen: LiveServer, view: str, scheme: str
) -> None:
    path, heading = VIEWS[view]
    visit = Visit(chromium, seen.web_url, color_scheme=scheme)
    try:
        visit.page.goto(path)
        if heading:
            expect(visit.page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()
        expect(visit.page.get_by_role("main")).to_be_visible()
        expect(visit.page.locator("[aria-busy=true]")).to_have_count(0)
        assert visit.violations() == []
        assert "taken" not in visit.page.title()
        assert visit.page.locator("img[src=x]").count() == 0
        assert visit.page.locator('a[href^="javascript:"]').count() == 0
        assert visit.problems == []
    finally:
        visit.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_a_phone(chromium: Browser, seen: LiveServer, view: str) -> None:
    path, heading = VIEWS[view]
    visit = Visit(chromium, seen.web_url, viewport=PHONE, has_touch=True)
    try:
        visit.page.goto(path)
        if heading:
            expect(visit.page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()
        expect(visit.page.locator("[aria-busy=true]")).to_have_count(0)
        wide = visit.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0
        assert visit.problems == []
    finally:
        visit.close()


def test_dialogs_and_menus_are_used_by_the_keyboard(chromium: Browser, seen: LiveServer) -> None:
    visit = Visit(chromium, seen.web_url)
    page = visit.page
    try:
        page.goto("/registry/model")
        button = page.get_by_role("button", name="More for Seen")
        button.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("menuitem", name="Link new version")).to_be_focused()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("menuitem", name="Copy ref")).to_be_focused()
        page.keyboard.press("Escape")
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("menuitem", name="Link new version")).to_be_focused()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Link new version")
        expect(dialog).to_be_visible()
        assert visit.violations() == []
        expect(dialog.get_by_role("button", name=re.compile("^Project"))).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("combobox")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog.get_by_role("option")).to_have_count(0)
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(button).to_be_focused()
        page.keyboard.press("/")
        expect(page.get_by_role("textbox", name="Filter")).to_be_focused()
        assert visit.problems == []
    finally:
        visit.close()


def test_seven_tabs_go_on_working(chromium: Browser, seen: LiveServer) -> None:
    visit = Visit(chromium, seen.web_url)
    try:
        tabs = [visit.page, *(visit.open() for _ in range(6))]
        for tab in tabs:
            tab.goto("/registry/model")
            expect(tab.get_by_role("heading", name="Registered models")).to_be_visible()
        for tab in tabs:
            tab.bring_to_front()
            tab.get_by_role("link", name="View details of Seen").click()
            expect(tab.get_by_role("heading", name="Versions", exact=True)).to_be_visible()
    finally:
        visit.close()


def test_a_restart_is_told_and_healed(
    chromium: Browser, live_server_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = live_server_factory("--web-port", "0").start()
    port = server.web_url.rpartition(":")[2]
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", server.url)
    modelyard.Api().create_registered_model("Before")
    visit = Visit(chromium, server.web_url)
    visit.expected = ["Failed to load resource", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"]
    page = visit.page
    try:
        page.goto("/registry/model")
        expect(page.get_by_role("link", name="Before", exact=True)).to_be_visible()
        server.stop()
        expect(page.get_by_text(re.compile("Not connected since"))).to_be_visible()
        expect(page.get_by_role("link", name="Before", exact=True)).to_be_visible()
        server.options = ("--web-port", port)
        server.start()
        modelyard.Api().create_registered_model("After")
        expect(page.get_by_role("link", name="After", exact=True)).to_be_visible(timeout=30_000)
        expect(page.get_by_text(re.compile("Not connected since"))).to_be_hidden()
        assert visit.problems == []
    finally:
        visit.close()


def test_a_key_is_asked_for_once(
    chromium: Browser, live_server_factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = live_server_factory("--web-port", "0")
    key = create_key(server, "mira", "--entity", "acme")
    server.start()
    visit = Visit(chromium, server.web_url)
    visit.expected = ["401"]
    page = visit.page
    try:
        page.goto("/registry/model")
        field = page.get_by_label("API key")
        field.fill("my_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        assert visit.violations() == []
        field.fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="No registered model yet")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="No registered model yet")).to_be_visible()
        expect(page.get_by_role("img", name="Account of mira")).to_be_visible()
        assert visit.violations() == []
        assert visit.problems == []
    finally:
        visit.close()


def test_a_registry_without_models_says_what_to_type(chromium: Browser, live_server_factory: Factory) -> None:
    server = live_server_factory("--web-port", "0").start()
    visit = Visit(chromium, server.web_url, viewport=DESKTOP)
    try:
        visit.page.goto("/")
        expect(visit.page.get_by_role("heading", name="No registered model yet")).to_be_visible()
        expect(visit.page.locator("pre").first).to_contain_text("pip install modelyard")
        assert visit.violations() == []
        assert visit.problems == []
    finally:
        visit.close()


def test_the_theme_is_chosen_and_kept(chromium: Browser, seen: LiveServer) -> None:
    visit = Visit(chromium, seen.web_url, color_scheme="light")
    page: Page = visit.page
    try:
        page.goto("/registry/model")
        colour = "getComputedStyle(document.documentElement).backgroundColor"
        assert page.evaluate(colour) == "rgb(255, 255, 255)"
        for _ in range(2):  # system → light → dark
            page.get_by_role("button", name=re.compile("^Theme")).click()
        assert page.evaluate(colour) == "rgb(17, 19, 24)"
        page.reload()
        expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert page.evaluate(colour) == "rgb(17, 19, 24)"
    finally:
        visit.close()
