"""The table of runs in a browser: columns, filters, orders, groups, and more rows than a document holds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import modelyard
from modelyard.v1 import run_pb2
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer, new_project
from tests.web.chromium import PHONE, Visit

PROJECT = "sheet"
RATES = (0.1, 0.1, 0.01, 0.01, 0.001, 0.001)


@pytest.fixture(scope="module")
def logged(web_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> LiveServer:
    """A server with six runs, two for each rate; the later ones end with less."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("sheet")
        isolate(patch, folder)
        patch.setenv("MODELYARD_URL", web_server.url)
        patch.chdir(folder)
        for number, rate in enumerate(RATES):
            config = {"lr": rate, "model": "bert", "deep": {"two words": f"w{number}"}}
            with modelyard.init(project=PROJECT, id=f"r{number}", name=f"run {number}", config=config) as run:
                run.define_metric("score", summary="max,min")
                for step in range(5):
                    run.log({"loss": 10 - number - step / 10, "score": number + step, "acc": step})
        modelyard.finish()
    return web_server


@pytest.fixture
def visit(chromium: Browser, logged: LiveServer) -> Iterator[Visit]:
    visit = Visit(chromium, logged.web_url)
    yield visit
    visit.close()
    assert visit.problems == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def table(page: Page) -> Locator:
    return page.get_by_role("region", name="Runs")


def names(page: Page) -> Locator:
    return table(page).locator("tbody a.name")


def column(page: Page, label: str) -> Locator:
    return table(page).get_by_role("columnheader").filter(has=page.get_by_role("button", name=label))


def cell(page: Page, row: str, number: int) -> Locator:
    return table(page).get_by_role("row").filter(has_text=row).get_by_role("cell").nth(number)


def headers(page: Page) -> list[str]:
    return table(page).get_by_role("columnheader").all_inner_texts()[3:]


def test_columns_are_chosen_and_ordered_and_kept_in_the_address(page: Page, visit: Visit) -> None:
    page.goto(f"/local/{PROJECT}")
    expect(column(page, "lr config")).to_be_visible()  # what differs is among the first columns
    page.get_by_role("button", name="Columns").click()
    menu = page.get_by_role("dialog", name="Columns")
    for sought, name in (("model", "config.model"), ("min(loss)", "min(loss)"), ("durat", "Duration")):
        menu.get_by_role("textbox").fill(sought)
        menu.get_by_role("list", name="Other columns").get_by_label(name, exact=True).click()
    menu.get_by_role("list", name="Shown columns").get_by_role("checkbox", name="Begun").click()
    assert visit.violations() == []
    for _ in range(8):
        button = menu.get_by_role("button", name="Move min(loss) up")
        if not button.is_enabled():
            break
        button.click()
    page.keyboard.press("Escape")
    expect(menu).to_be_hidden()
    expect(table(page).get_by_role("columnheader").nth(3)).to_have_text("loss min")
    shown = headers(page)
    assert shown[-2:] == ["model config", "Duration"]
    assert "Begun" not in shown
    expect(cell(page, "run 2", 3)).to_have_text("7.6")
    page.reload()
    expect(cell(page, "run 2", 3)).to_have_text("7.6")
    assert headers(page) == shown


def test_only_config_that_differs(page: Page) -> None:
    page.goto(f"/local/{PROJECT}?columns=state,config.model,config.lr")
    expect(column(page, "model config")).to_be_visible()
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Only config that differs").check()
    expect(column(page, "deep.two words config")).to_be_visible()
    expect(column(page, "lr config")).to_be_visible()
    expect(column(page, "model config")).to_have_count(0)
    page.goto(f"/local/{PROJECT}?differ=1&filter=config.lr+%3D+0.1")
    expect(column(page, "deep.two words config")).to_be_visible()
    expect(column(page, "lr config")).to_have_count(0)


@pytest.mark.parametrize(
    ("id_", "label", "ascending"),
    [
        ("summary.score.max", "score.max", "r0"),
        ("config.lr", "lr config", "r4|r5"),
        ("min(loss)", "loss min", "r5"),
        ("name", "Id", "r0"),
        ("state", "State", "r0|r5"),
    ],
)
def test_every_column_orders_the_runs(page: Page, id_: str, label: str, ascending: str) -> None:
    page.goto(f"/local/{PROJECT}?columns={id_}")
    header = column(page, label)
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    expect(names(page)).to_have_count(len(RATES))
    expect(names(page).first).to_have_attribute("href", re.compile(f"/runs/({ascending})$"))


def test_the_best_result_is_that_of_all_runs_that_match(page: Page) -> None:
    page.goto(f"/local/{PROJECT}?columns=summary.loss,summary.acc")
    expect(cell(page, "run 5", 3)).to_have_text("best4.6")
    page.goto(f"/local/{PROJECT}?columns=summary.loss&filter=config.lr+%3D+0.1")
    expect(cell(page, "run 1", 3)).to_have_text("best8.6")


def test_a_filter_is_completed_from_fields_and_keys(page: Page, visit: Visit) -> None:
    page.goto(f"/local/{PROJECT}")
    field = page.get_by_role("combobox", name="Filter")
    field.click()
    proposed = page.get_by_role("listbox", name="What may follow").get_by_role("option")
    expect(proposed.filter(has_text="display_name")).to_be_visible()
    field.press_sequentially("two")
    expect(proposed).to_have_count(1)
    field.press("ArrowDown")
    assert visit.violations() == []
    field.press("Enter")
    expect(field).to_have_value('config.deep."two words" ')
    page.get_by_role("option", name="= is", exact=True).click()
    field.press_sequentially('"w1" AND sta')
    field.press("ArrowDown")
    field.press("Tab")
    field.press_sequentially("= ")
    page.get_by_role("option", name='"finished"').click()
    expect(field).to_have_value('config.deep."two words" = "w1" AND state = "finished" ')
    field.press("Enter")
    expect(names(page)).to_have_count(1)
    expect(names(page)).to_have_text("run 1")


def test_a_filter_that_is_refused_says_why_below_it(page: Page, visit: Visit) -> None:
    visit.expected = ["400"]
    page.goto(f"/local/{PROJECT}")
    expect(names(page)).to_have_count(len(RATES))
    field = page.get_by_role("combobox", name="Filter")
    field.fill("config.lr ~ 3")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("character 11")
    expect(names(page)).to_have_count(len(RATES))  # what was shown stays
    expect(field).to_have_attribute("aria-invalid", "true")
    assert visit.violations() == []
    field.fill("config.lr < 0.005")
    field.press("Enter")
    expect(names(page)).to_have_count(2)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_groups_have_counts_means_and_extremes(page: Page, visit: Visit) -> None:
    page.goto(f"/local/{PROJECT}?columns=summary.loss,config.model")
    page.get_by_label("Group by").select_option("config.lr")
    rows = table(page).locator("tr.group-row")
    expect(rows).to_have_text(
        [re.compile("^0.001 *2 runs *5.1 4.6–5.6"), re.compile("0.01"), re.compile("0.1")]
    )
    expect(names(page)).to_have_count(0)
    rows.nth(1).get_by_role("button", name=re.compile("^0.01")).click()
    expect(names(page)).to_have_text(["run 3", "run 2"])
    assert visit.violations() == []
    chart = page.get_by_role("img", name=re.compile("^loss by step"))
    expect(chart).to_have_attribute(
        "aria-label", re.compile(r"0\.001 ends at 5\.1, 0\.01 ends at 7\.1, 0\.1 ends at 9\.1")
    )
    page.get_by_label("Select the runs of 0.01").check()
    expect(page.get_by_role("region", name="Selection")).to_be_visible()


def test_runs_are_hidden_and_shown_alone_by_keys(page: Page) -> None:
    page.goto(f"/local/{PROJECT}")
    chart = page.get_by_role("img", name=re.compile("^loss by step"))
    expect(chart).to_have_attribute("aria-label", re.compile("run 5 ends.*run 0 ends"))
    eye = page.get_by_role("button", name="Show run 3 in the charts")
    colour = eye.locator("i").evaluate("one => getComputedStyle(one).backgroundColor")
    names(page).filter(has_text="run 5").focus()
    page.keyboard.press("h")
    expect(chart).not_to_have_attribute("aria-label", re.compile("run 5 ends"))
    expect(page.get_by_role("button", name="Show run 5 in the charts")).to_have_attribute(
        "aria-pressed", "false"
    )
    names(page).filter(has_text="run 3").focus()
    page.keyboard.press("s")
    expect(chart).to_have_attribute("aria-label", re.compile("^loss by step: run 3 ends at [0-9.]+$"))
    assert eye.locator("i").evaluate("one => getComputedStyle(one).backgroundColor") == colour
    page.reload()
    expect(chart).to_have_attribute("aria-label", re.compile("^loss by step: run 3 ends at [0-9.]+$"))
    names(page).filter(has_text="run 3").focus()
    page.keyboard.press("s")
    expect(chart).to_have_attribute("aria-label", re.compile("^loss by step: run 4 ends"))
    page.get_by_role("button", name="Draw the first ones").click()
    expect(chart).to_have_attribute("aria-label", re.compile("run 5 ends.*run 0 ends"))


def test_a_range_of_runs_is_selected_and_compared(page: Page) -> None:
    page.goto(f"/local/{PROJECT}")
    page.get_by_role("checkbox", name="Select run 4").click()
    page.get_by_role("checkbox", name="Select run 2").click(modifiers=["Shift"])
    bar = page.get_by_role("region", name="Selection")
    expect(bar).to_contain_text("3 selected")
    page.get_by_role("button", name="Columns").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Columns")).to_be_hidden()
    expect(bar).to_contain_text("3 selected")  # the menu was closed, nothing else
    bar.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", name="3 runs compared")).to_be_visible()


@pytest.mark.parametrize("viewport", ["desktop", "phone"])
def test_thousands_of_runs_scroll_in_a_small_document(
    chromium: Browser, logged: LiveServer, viewport: str
) -> None:
    project, total = new_project(), 1_300
    stubs = logged.stubs()
    calls = [
        stubs.runs.CreateRun.future(
            run_pb2.CreateRunRequest(
                run=run_pb2.Run(project=project, name=f"n{number:04}", display_name=f"n{number:04}")
            )
        )
        for number in range(total)
    ]
    for call in calls:
        call.result()
    visit = Visit(chromium, logged.web_url, **({"viewport": PHONE} if viewport == "phone" else {}))
    page = visit.page
    try:
        page.goto(f"/local/{project}?sort=name")
        sheet = table(page).get_by_role("table")
        expect(sheet).to_have_attribute("aria-rowcount", str(total + 1))
        expect(names(page).first).to_have_text("n0000")
        assert names(page).count() < 100
        table(page).evaluate("one => one.scrollTo(0, one.scrollHeight)")
        expect(names(page).last).to_have_text(f"n{total - 1:04}")
        assert names(page).count() < 100
        expect(sheet.get_by_role("row").last).to_have_attribute("aria-rowindex", str(total + 1))
        table(page).evaluate("one => one.scrollTo(0, one.scrollHeight / 2)")
        expect(names(page).filter(has_text=f"n{total // 2:04}")).to_be_visible()
        names(page).filter(has_text=f"n{total // 2:04}").focus()
        for _ in range(60):
            page.keyboard.press("j")
        expect(page.locator(":focus")).to_have_text(f"n{total // 2 + 60:04}")
        assert visit.problems == []
    finally:
        visit.close()
