"""The page by the keyboard: jumping, keys of lists and views, selection, dialogs that give the focus back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import modelyard
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer
from tests.web.chromium import PHONE, Visit

MODEL = "/local/model-registry/models/Keyed"
VERSION = "/local/keys/artifacts/model/keyed/v1"
LIST = '/registry/model?filter=name+:+"Keyed"'


@pytest.fixture(scope="module")
def filled(web_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """Two runs of the project `keys`, with two versions in one of three registered models."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("keys")
        isolate(patch, folder)
        patch.setenv("MODELYARD_URL", web_server.url)
        patch.chdir(folder)
        for number, name in enumerate(("first keyed", "second keyed")):
            Path("model.bin").write_text(f"weights {number}")
            with modelyard.init(project="keys", id=f"keyed-{number}", name=name) as run:
                run.log({"loss": 1 - number})
                run.link_model("model.bin", "Keyed", name="keyed", aliases=["champion"])
        for name in ("Keyed by two", "Keyed by three"):
            modelyard.Api().create_registered_model(name)
        modelyard.finish()
    return web_server


@pytest.fixture
def visit(chromium: Browser, filled: LiveServer) -> Iterator[Visit]:
    visit = Visit(chromium, filled.web_url, permissions=["clipboard-read", "clipboard-write"])
    yield visit
    visit.close()
    assert visit.problems == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def shown(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def opened(page: Page, path: str, heading: str) -> None:
    page.goto(path)
    shown(page, heading)


def jump(page: Page) -> Locator:
    page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog", name="Jump to anything")
    expect(dialog.get_by_role("combobox")).to_be_focused()
    return dialog


def copied(page: Page) -> str:
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("keyed:v1", VERSION),
        ("Keyed:champion", f"{MODEL}/v1"),
        ("local/model-registry/Keyed:v0", f"{MODEL}/v0"),
        ("keys/keyed:v0", "/local/keys/artifacts/model/keyed/v0"),
        ("keyed-1", "/local/keys/runs/keyed-1"),
        ("local/keys/keyed-0", "/local/keys/runs/keyed-0"),
        ("local/keys", "/local/keys"),
    ],
)
def test_a_ref_leads_straight_to_its_place(page: Page, visit: Visit, typed: str, path: str) -> None:
    visit.expected = ["404"]  # Chromium reports the meanings of a text that name no project
    opened(page, "/local/model-registry/models/Keyed%20by%20two", "Keyed by two")
    jump(page)
    page.keyboard.insert_text(typed)
    page.keyboard.press("Enter")  # before the server has answered
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page).to_have_url(re.compile(f"{re.escape(path)}$"))


def test_a_part_of_a_name_finds_things_of_every_kind(page: Page) -> None:
    opened(page, MODEL, "Keyed")
    dialog = jump(page)
    page.keyboard.type("keyed")
    for kind in ("Registered models", "Artifacts", "Runs"):
        expect(dialog.get_by_role("group", name=kind, exact=True).get_by_role("option").first).to_be_visible()
    expect(dialog.get_by_role("option").first).to_contain_text("keyed")
    expect(dialog.get_by_role("option").first).to_have_attribute("aria-selected", "true")
    press(page, "ArrowUp")
    expect(dialog.get_by_role("option").last).to_have_attribute("aria-selected", "true")
    press(page, "ArrowDown", "ArrowDown")
    expect(dialog.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.type(" no such thing")
    expect(dialog.get_by_role("status")).to_contain_text("Nothing is found for keyed no such thing")


def test_what_was_visited_last_is_offered_first(page: Page) -> None:
    opened(page, "/local/keys/runs/keyed-0", "first keyed")
    opened(page, f"{MODEL}/v0", "Keyed:v0")
    dialog = jump(page)
    group = dialog.get_by_role("group", name="Visited last")
    expect(group.get_by_role("option")).to_contain_text(["Keyed:v0", "first keyed"])
    expect(dialog.get_by_role("group", name="Newest").get_by_role("option").first).to_be_visible()
    group.get_by_role("option", name="first keyed").click()
    shown(page, "first keyed")


def test_the_focus_returns_to_what_opened_a_dialog(page: Page) -> None:
    opened(page, MODEL, "Keyed")
    for name, dialog in (("Search", "Jump to anything"), ("Keys", "Keys")):
        button = page.get_by_role("button", name=re.compile(f"^{name}"))
        button.click()
        expect(page.get_by_role("dialog", name=dialog)).to_be_visible()
        press(page, "j", "g", "r")  # the view behind a dialog rests
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(button).to_be_focused()
    shown(page, "Keyed")


def test_two_letters_lead_to_a_view(page: Page) -> None:
    opened(page, VERSION, "Version overview")
    press(page, "g", "l")
    expect(page.get_by_role("tab", name="Lineage")).to_have_attribute("aria-selected", "true")
    press(page, "g", "u")
    shown(page, "Runs")
    press(page, "g", "a")
    expect(page).to_have_url(re.compile("/local/keys/artifacts$"))
    press(page, "g", "r")
    shown(page, "Registered models")
    press(page, "g", "u")  # of the project that was visited last
    expect(page).to_have_url(re.compile("/local/keys$"))


def test_rows_are_walked_and_opened(page: Page) -> None:
    opened(page, LIST, "Registered models")
    press(page, "j")
    expect(page.get_by_role("link", name="Keyed", exact=True)).to_be_focused()
    press(page, "j")
    expect(page.get_by_role("link", name="Keyed by three", exact=True)).to_be_focused()
    press(page, "k", "k")
    expect(page.get_by_role("link", name="Keyed", exact=True)).to_be_focused()
    press(page, "Enter")
    shown(page, "Versions")
    press(page, "j", "g", "l")  # of the version in the row
    expect(page).to_have_url(re.compile("/Keyed/v1/lineage$"))


def test_rows_are_selected_by_keys_and_their_refs_copied(page: Page, visit: Visit) -> None:
    opened(page, LIST, "Registered models")
    press(page, "j", "c")
    assert copied(page) == "local/model-registry/Keyed"
    press(page, "x", "j", "j", "Shift+X")
    bar = page.get_by_role("region", name="Selection")
    expect(bar).to_contain_text("3 selected")
    expect(page.locator("tr[aria-selected=true]")).to_have_count(3)
    assert visit.violations() == []
    press(page, "k", "x")
    expect(bar).to_contain_text("2 selected")
    bar.get_by_role("button", name="Copy refs").click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    refs = ["local/model-registry/Keyed", "local/model-registry/Keyed by two"]
    assert str(page.evaluate("navigator.clipboard.readText()")).split("\n") == refs
    press(page, "Escape")
    expect(bar).to_be_hidden()


def test_shift_click_selects_the_rows_between(page: Page) -> None:
    opened(page, LIST, "Registered models")
    page.get_by_role("checkbox", name="Select Keyed", exact=True).click()
    page.get_by_role("row").filter(has_text="Keyed by two").get_by_text("never").click(modifiers=["Shift"])
    expect(page.get_by_role("region", name="Selection")).to_contain_text("3 selected")
    page.get_by_role("checkbox", name="Select Keyed by three").click(modifiers=["Shift"])
    expect(page.get_by_role("region", name="Selection")).to_contain_text("1 selected")
    page.get_by_role("button", name="Clear the selection").click()
    expect(page.get_by_role("region", name="Selection")).to_be_hidden()


def test_selected_models_are_deleted_after_a_question(
    page: Page, visit: Visit, filled: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", filled.url)
    monkeypatch.chdir(tmp_path)
    visit.expected = ["Failed to load resource"]  # Chromium reports refusals of calls, too
    modelyard.Api().create_registered_model("Doomed and empty")
    Path("model.bin").write_text("doomed")
    with modelyard.init(project="doomed") as run:
        run.link_model("model.bin", "Doomed and used", name="doomed", aliases=["production"])
    page.goto('/registry/model?filter=name+:+"Doomed"')
    page.get_by_role("checkbox", name="Select Doomed and empty").check()
    page.get_by_role("checkbox", name="Select Doomed and used").check()
    page.get_by_role("button", name="Delete…").click()
    dialog = page.get_by_role("dialog", name="Delete 2 registered models")
    assert visit.violations() == []
    dialog.get_by_role("button", name="Delete 2 registered models").click()
    dialog = page.get_by_role("dialog", name="Delete 1 registered model")
    expect(dialog.get_by_role("listitem")).to_have_count(1)
    expect(dialog.get_by_role("alert")).to_contain_text("alias")
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Delete 1 registered model").click()
    expect(page.get_by_text("Deleted 1 registered model")).to_be_visible()
    expect(page.get_by_text("No registered model matches")).to_be_visible()
    assert modelyard.Api().artifact("doomed/doomed:v0").name == "doomed:v0"


def test_a_range_reaches_over_rows_that_are_not_in_sight(
    page: Page, filled: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", filled.url)
    for number in range(120):
        modelyard.Api().create_registered_model(f"Long {number:03}")
    opened(page, '/registry/model?filter=name+:+"Long"', "Registered models")
    page.get_by_role("checkbox", name="Select Long 000").click()
    page.keyboard.press("End")
    expect(page.get_by_role("link", name="Long 099", exact=True)).to_be_visible()
    page.keyboard.press("End")
    page.get_by_role("checkbox", name="Select Long 119").click(modifiers=["Shift"])
    expect(page.get_by_role("region", name="Selection")).to_contain_text("120 selected")
    assert page.locator("tbody tr").count() < 100
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 120 registered models").click()
    expect(page.get_by_text("Deleted 120 registered models")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("No registered model matches")).to_be_visible()


def test_versions_are_selected_in_the_list_of_artifacts(
    page: Page, visit: Visit, filled: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", filled.url)
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        Path("model.bin").write_text(f"listed {number}")
        with modelyard.init(project="listed") as run:
            run.log_artifact("model.bin", name="listed", type="model").wait()
    opened(page, "/local/listed/artifacts/model/listed/v2", "Version overview")
    press(page, "j", "x")  # an artifact has no box
    expect(page.get_by_role("region", name="Selection")).to_be_hidden()
    press(page, "j", "j", "x", "j", "x", "c")
    assert copied(page).split() == ["local/listed/listed:v1", "local/listed/listed:v0"]
    assert visit.violations() == []
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 2 versions").click()
    expect(page.get_by_text("Deleted 2 versions")).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(1)
    assert [one.version for one in modelyard.Api().artifacts("model", "listed/listed")] == ["v2"]


def test_two_selected_versions_are_compared(page: Page) -> None:
    opened(page, MODEL, "Versions")
    press(page, "j", "x")
    expect(page.get_by_role("region", name="Selection")).to_contain_text("1 selected")
    expect(page.get_by_role("link", name="Compare")).to_have_count(0)
    press(page, "j", "x")
    expect(page.locator("tr[aria-selected=true]")).to_have_count(2)
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(page).to_have_url(re.compile("/Keyed/v1/compare.with=local%2Fmodel-registry%2FKeyed%3Av0$"))
    shown(page, "Keyed:v1")


def test_a_version_leaves_a_registered_model(
    page: Page, filled: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("MODELYARD_URL", filled.url)
    monkeypatch.chdir(tmp_path)
    Path("model.bin").write_text("leaves")
    with modelyard.init(project="leaving") as run:
        run.link_model("model.bin", "Left", name="leaves")
    opened(page, "/local/model-registry/models/Left", "Versions")
    page.get_by_role("checkbox", name="Select v0").check()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete 1 version").click()
    expect(page.get_by_text("No version yet")).to_be_visible()
    assert modelyard.Api().artifact("leaving/leaves:v0").name == "leaves:v0"


def test_arrows_move_the_crosshair(page: Page) -> None:
    opened(page, "/local/keys/runs/keyed-0", "first keyed")
    chart = page.get_by_role("img", name=re.compile("^loss by step"))
    chart.focus()
    press(page, "ArrowRight")
    values = page.locator(".chart-values")
    expect(values).to_contain_text("first keyed")
    press(page, "Escape")
    expect(values).to_be_hidden()
    press(page, "End")
    expect(values).to_contain_text("1")
    press(page, "Tab")
    expect(values).to_be_hidden()


def test_digits_and_arrows_open_the_tabs(page: Page) -> None:
    opened(page, VERSION, "Version overview")
    for number, name in enumerate(("Metadata", "Files", "Compare", "Lineage", "Usage"), start=2):
        press(page, str(number))
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
    press(page, "1")
    tab = page.get_by_role("tab", name="Version", exact=True)
    tab.focus()
    press(page, "ArrowRight")
    expect(page.get_by_role("tab", name="Metadata")).to_be_focused()
    press(page, "End", "Enter")
    expect(page.get_by_role("tab", name="Usage")).to_have_attribute("aria-selected", "true")
    press(page, "ArrowRight", "Space")
    expect(tab).to_have_attribute("aria-selected", "true")


def test_l_opens_the_dialog_that_links(page: Page) -> None:
    for path, heading, title in (
        (VERSION, "Version overview", "Link to registry"),
        (MODEL, "Versions", "Link new version"),
        (LIST, "Registered models", "Link new version"),
    ):
        opened(page, path, heading)
        press(page, "j", "l")
        dialog = page.get_by_role("dialog", name=title)
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()


def test_a_letter_opens_a_combobox_and_a_menu_takes_arrows(page: Page) -> None:
    opened(page, VERSION, "Version overview")
    press(page, "l")
    dialog = page.get_by_role("dialog", name="Link to registry")
    expect(dialog.get_by_role("button", name="Select a registered model")).to_be_focused()
    page.keyboard.type("keyed by t")
    expect(dialog.get_by_role("option")).to_have_count(2)
    press(page, "End", "Enter")
    expect(dialog.get_by_role("button", name="Select a registered model")).to_contain_text("Keyed by two")
    opened(page, LIST, "Registered models")
    page.get_by_role("button", name="More for Keyed by two").focus()
    press(page, "ArrowUp")
    expect(page.get_by_role("menuitem").last).to_be_focused()
    press(page, "Home")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    press(page, "j", "c")  # j is nothing here, and moves to no row
    expect(page.get_by_role("menuitem", name="Copy ref")).to_be_focused()


def test_slash_goes_to_the_filter_or_searches(page: Page) -> None:
    opened(page, LIST, "Registered models")
    press(page, "/")
    field = page.get_by_role("textbox", name="Filter")
    expect(field).to_be_focused()
    page.keyboard.type(" gr?[")
    expect(field).to_have_value('name : "Keyed" gr?[')
    field.fill('name : "Keyed"')
    press(page, "Escape")
    expect(field).not_to_be_focused()
    opened(page, f"{MODEL}/v0/usage", "Keyed:v0")
    press(page, "/")
    expect(page.get_by_role("dialog", name="Jump to anything")).to_be_visible()


def test_the_side_bar_is_folded_and_stays_so(page: Page) -> None:
    opened(page, MODEL, "Keyed")
    width = page.locator(".side").evaluate("(side) => side.clientWidth")
    press(page, "[")
    expect(page.locator(".frame.rail")).to_be_visible()
    assert page.locator(".side").evaluate("(side) => side.clientWidth") < width / 2
    page.reload()
    expect(page.locator(".frame.rail")).to_be_visible()
    page.get_by_role("button", name="Side bar").click()
    expect(page.locator(".frame.rail")).to_have_count(0)


def test_letters_can_be_switched_off(page: Page) -> None:
    opened(page, MODEL, "Keyed")
    press(page, "?")
    dialog = page.get_by_role("dialog", name="Keys")
    for text in ("Jump to anything", "Next, previous row", "Hide a run", "Tab of a version or a run"):
        expect(dialog.get_by_text(text)).to_be_visible()
    dialog.get_by_role("checkbox").uncheck()
    press(page, "Escape")
    page.reload()
    shown(page, "Keyed")
    press(page, "g", "r", "?", "[", "/", "1")
    expect(page.get_by_role("dialog")).to_have_count(0)
    shown(page, "Versions")
    jump(page)
    press(page, "Escape")
    page.get_by_role("button", name=re.compile("^Keys")).click()
    dialog.get_by_role("checkbox").check()
    press(page, "Escape", "g", "r")
    shown(page, "Registered models")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_dialogs_are_accessible(chromium: Browser, filled: LiveServer, scheme: str) -> None:
    visit = Visit(chromium, filled.web_url, color_scheme=scheme)
    page = visit.page
    try:
        opened(page, MODEL, "Keyed")
        dialog = jump(page)
        expect(dialog.get_by_role("option").first).to_be_visible()
        assert visit.violations() == []
        page.keyboard.type("no such thing")
        expect(dialog.get_by_role("status")).to_contain_text("Nothing is found")
        assert visit.violations() == []
        press(page, "Escape", "?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        assert visit.violations() == []
        press(page, "Escape", "[")
        assert visit.violations() == []
        assert visit.problems == []
    finally:
        visit.close()


def test_a_phone_searches_by_its_button(chromium: Browser, filled: LiveServer) -> None:
    visit = Visit(chromium, filled.web_url, viewport=PHONE, has_touch=True)
    page = visit.page
    try:
        opened(page, LIST, "Registered models")
        page.get_by_role("checkbox", name="Select Keyed by two").check()
        expect(page.get_by_role("region", name="Selection")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.get_by_role("button", name="Search").click()
        page.keyboard.type("second keyed")
        option = page.get_by_role("option", name=re.compile("second keyed"))
        expect(option).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        option.tap()
        shown(page, "second keyed")
        assert visit.problems == []
    finally:
        visit.close()
