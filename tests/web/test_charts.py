"""Charts in a browser: what stands in them, at each zoom, while rows come in, and as files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import modelyard
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer, new_project
from tests.web.chromium import Visit

PROJECT = "plots"
STEPS = 3_000
SPIKE = 1_234
"""The step of a loss that no mean shows."""


@pytest.fixture(scope="module")
def logged(web_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with two runs of many steps, this process a script that may log more."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("plots")
        isolate(patch, folder)
        patch.setenv("MODELYARD_URL", web_server.url)
        patch.chdir(folder)
        for number in range(2):
            config = {"size": number}
            with modelyard.init(
                project=PROJECT, id=f"p{number}", name=f"plot {number}", config=config
            ) as run:
                for step in range(STEPS):
                    loss = 500.0 if step == SPIKE and not number else 1 + number + step % 2 / 10
                    row = {"train/loss": loss, "seen": step * 64, "other": 1}
                    run.log(row if step % 100 else {**row, "val/loss": 2.5 + number})
        yield web_server
        modelyard.finish()


@pytest.fixture
def visit(chromium: Browser, logged: LiveServer) -> Iterator[Visit]:
    visit = Visit(chromium, logged.web_url)
    yield visit
    visit.close()
    assert visit.problems == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def chart(page: Page, title: str) -> Locator:
    return page.locator(f'[role=img][aria-label^="{title} by "]')


def file(page: Page, of: str, item: str) -> list[list[str]]:
    """The rows of a file that a menu of a chart gives."""
    page.get_by_role("button", name=f"More for {of}").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=item).click()
    text = Path(download.value.path()).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text)))


def drawn(page: Page, of: str) -> dict[str, list[tuple[float, float]]]:
    """The points of each line."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, x, y, *_ in file(page, of, "CSV of what is drawn")[1:]:
        lines.setdefault(name, []).append((float(x), float(y)))
    return lines


def test_extremes_are_exact_at_every_zoom(page: Page) -> None:
    page.goto(f"/local/{PROJECT}")
    expect(chart(page, "loss")).to_be_visible()
    whole = drawn(page, "loss")["plot 0 · train"]
    assert (SPIKE, 500.0) in whole
    assert len(whole) < STEPS
    page.goto(f"/local/{PROJECT}?range={SPIKE - 20}~{SPIKE + 21}")
    expect(page.get_by_role("button", name="Reset zoom").first).to_be_visible()
    near = drawn(page, "loss")["plot 0 · train"]
    assert near == [
        (step, 500.0 if step == SPIKE else 1 + step % 2 / 10) for step in range(SPIKE - 20, SPIKE + 21)
    ]


def test_training_and_validation_share_a_chart_unless_told_otherwise(page: Page) -> None:
    page.goto(f"/local/{PROJECT}")
    label = (
        "plot 1 · train ends at 2.1, plot 0 · train ends at 1.1, plot 1 · val ends at 3.5, plot 0 · val ends"
    )
    expect(chart(page, "loss")).to_have_attribute("aria-label", re.compile(re.escape(label)))
    page.get_by_label("train + val").uncheck()
    expect(chart(page, "train/loss")).to_be_visible()
    expect(chart(page, "val/loss")).to_be_visible()
    expect(chart(page, "loss")).to_have_count(0)
    page.get_by_label("Metrics by regular expression").fill("^val|oth")
    expect(page.locator("figure.chart")).to_have_count(2)
    expect(chart(page, "train/loss")).to_have_count(0)


def test_x_is_step_time_or_a_metric_and_axes_may_be_logarithmic(page: Page) -> None:
    page.goto(f"/local/{PROJECT}?split=0&metric=train")
    expect(chart(page, "train/loss")).to_be_visible()
    for x, label, last in (
        ("seen", "seen", (STEPS - 1) * 64),
        ("_runtime", "seconds since the start", None),
        ("_timestamp", "time", None),
    ):
        page.get_by_label("x axis").select_option(x)
        expect(chart(page, "train/loss")).to_have_attribute("aria-label", re.compile(f" by {label}: "))
        end = drawn(page, "train/loss")["plot 0"][-1]
        assert end[1] == 1.1
        assert last is None or end[0] == last
    page.get_by_label("x axis").select_option("_step")
    page.get_by_label("log y").check()
    page.get_by_label("log x").check()
    expect(chart(page, "train/loss").locator("canvas")).to_be_visible()
    assert {"log=1", "logx=1"} <= set(page.url.partition("?")[2].split("&"))


def test_a_band_holds_the_least_and_the_largest_around_the_mean(page: Page) -> None:
    page.goto(f"/local/{PROJECT}?split=0&metric=train&band=minmax")
    expect(chart(page, "train/loss")).to_be_visible()
    rows = [row for row in file(page, "train/loss", "CSV of what is drawn")[1:] if row[0] == "plot 0"]
    assert max(float(high) for *_, high in rows) == 500.0
    assert all(float(low) <= float(mean) <= float(high) for _, _, mean, low, high in rows)


def test_groups_are_drawn_as_their_mean_with_a_band(page: Page) -> None:
    page.goto(f"/local/{PROJECT}?split=0&metric=val|other&group=job_type")
    expect(chart(page, "val/loss")).to_be_visible()
    rows = file(page, "val/loss", "CSV of what is drawn")[1:]
    assert {tuple(map(float, row[2:])) for row in rows} == {(3.0, 2.5, 3.5)}
    page.get_by_label("Band").select_option("std")
    expect(page.get_by_label("Band")).to_have_value("std")
    rows = file(page, "val/loss", "CSV of what is drawn")[1:]
    assert {tuple(map(float, row[2:])) for row in rows} == {
        (3.0, 2.5, 3.5)
    }  # of two values it is half their distance


def test_every_row_of_a_chart_and_of_a_run_is_downloaded(page: Page) -> None:
    page.goto(f"/local/{PROJECT}")
    expect(chart(page, "loss")).to_be_visible()
    header, *rows = file(page, "loss", "CSV of every row")
    assert header == ["run", "step", "timestamp", "train/loss", "val/loss"]
    assert [int(row[1]) for row in rows] == [*range(STEPS)] * 2
    assert [row[0] for row in rows[::STEPS]] == ["plot 1", "plot 0"]
    assert float(rows[STEPS + SPIKE][3]) == 500.0
    assert [row[4] for row in rows[:STEPS]] == ["" if step % 100 else "3.5" for step in range(STEPS)]
    page.goto(f"/local/{PROJECT}/runs/p0")
    expect(chart(page, "loss")).to_be_visible()
    header, *rows = file(page, "the charts", "CSV of every row")
    assert header == ["run", "step", "timestamp", "other", "seen", "train/loss", "val/loss"]
    assert len(rows) == STEPS
    assert int(rows[-1][4]) == (STEPS - 1) * 64


def test_rows_that_come_in_keep_zoom_and_selection(page: Page) -> None:
    project = new_project()
    run = modelyard.init(project=project, name="going")
    for step in range(100):
        run.log({"loss": 1.0, "step_seen": step})
    page.goto(f"/local/{project}?metric=loss&range=10~200")
    found = chart(page, "loss")
    expect(found).to_have_attribute("aria-label", re.compile("going ends at 1$"))
    found.locator("canvas").evaluate("one => { one.isTheSame = true }")
    box = found.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 20, steps=4)
    expect(found.locator(".u-select")).not_to_have_css("width", "0px")
    width = found.locator(".u-select").evaluate("one => one.clientWidth")
    run.log({"loss": 7.0})
    expect(found).to_have_attribute("aria-label", re.compile("going ends at 7$"))
    assert found.locator(".u-select").evaluate("one => one.clientWidth") == width > 0
    assert found.locator("canvas").evaluate("one => one.isTheSame") is True
    assert "range=10%7E200" in page.url or "range=10~200" in page.url
    page.mouse.up()
    expect(page).not_to_have_url(re.compile("range=10(~|%7E)200"))
    page.get_by_role("button", name="Reset zoom").click()
    expect(page).not_to_have_url(re.compile("range="))
    run.finish()


def test_definitions_choose_x_and_hide_metrics(page: Page) -> None:
    project = new_project()
    with modelyard.init(project=project, id="defined") as run:
        run.define_metric("val/*", step_metric="epoch")
        run.define_metric("secret", hidden=True)
        for step in range(4):
            run.log({"epoch": step * 10, "val/acc": step, "loss": 1, "secret": 2})
    for path in (
        f"/local/{project}",
        f"/local/{project}/runs/defined",
        f"/local/{project}/compare?runs=defined",
    ):
        page.goto(path)
        expect(chart(page, "val/acc")).to_have_attribute("aria-label", re.compile("^val/acc by epoch: "))
        expect(chart(page, "loss")).to_have_attribute("aria-label", re.compile("^loss by step: "))
        assert drawn(page, "val/acc").popitem()[1][-1] == (30, 3)
        expect(chart(page, "secret")).to_have_count(0)
        page.get_by_label("Metrics by regular expression").fill("sec")
        expect(chart(page, "secret")).to_be_visible()


def test_charts_beyond_the_window_are_not_drawn(page: Page) -> None:
    project = new_project()
    with modelyard.init(project=project, id="many") as run:
        run.log({f"m{number:03}": number for number in range(50)})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "SampleMetrics" in request.url else None)
    page.goto(f"/local/{project}/runs/many")
    expect(chart(page, "m000")).to_be_visible()
    expect(page.locator(".chart-place")).to_have_count(50)
    assert page.locator("canvas").count() < 25
    assert len(asked) < 25
    page.locator(".chart-place").last.scroll_into_view_if_needed()
    expect(chart(page, "m049")).to_be_visible()


def test_compared_runs_are_ordered_by_a_nested_result(page: Page, visit: Visit) -> None:
    project = new_project()
    for number in (2, 0, 1):
        with modelyard.init(project=project, id=f"c{number}", name=f"cmp {number}") as run:
            run.define_metric("loss", summary="min,max", goal="minimize")
            for step in range(3):
                run.log({"loss": number + step})
    page.goto(f"/local/{project}/compare?runs=c2,c0,c1")
    columns = page.get_by_role("region", name="Differences").get_by_role("columnheader").locator("a")
    expect(columns).to_have_text(["cmp 2", "cmp 0", "cmp 1"])
    row = page.get_by_role("row").filter(has_text="loss.min")
    expect(row).to_contain_text("0 best")
    row.get_by_role("button").click()
    expect(columns).to_have_text(["cmp 2", "cmp 1", "cmp 0"])
    row.get_by_role("button").click()
    expect(columns).to_have_text(["cmp 0", "cmp 1", "cmp 2"])
    assert visit.violations() == []
