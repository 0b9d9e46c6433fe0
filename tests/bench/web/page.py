"""Target 19: the page in Chromium at the sizes of a large team, beside MLflow's on as much data."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import sides
from tests.bench.bench import Bench, Place, say
from tests.bench.children import ChildFailed
from tests.bench.results import Bound, NotMeasured, Row, Target
from tests.bench.web import catalog
from tests.bench.web.browser import Tab, chromium
from tests.bench.web.catalog import Sizes
from tests.bench.web.views import REGISTRY, View, views
from tests.parts.processes import free_port

_PEER = "MLflow's page"
_WORST = 0.95
"""The part of all frames that are at most as long as the one that is reported."""
WHATS = [view.what for view in views("", "")]


def _target(what: str, unit: str, least: Bound, aim: Bound) -> Target:
    return Target("19", what, unit, _PEER, least, aim)


FIRST = {
    what: _target(f"{what}: first view, cache warm", "ms", Bound("value", 300), Bound("value", 150))
    for what in WHATS
}
THEN = {
    what: _target(f"{what}: from another view", "ms", Bound("value", 150), Bound("value", 75))
    for what in WHATS
}
SERVER = {
    what: _target(f"{what}: time at the server", "ms", Bound("at_most", 1), Bound("at_most", 0.5))
    for what in WHATS
}
BYTES = {
    what: _target(f"{what}: bytes of its calls", "kB", Bound("at_most", 1), Bound("at_most", 0.5))
    for what in WHATS
}
SCROLL = {
    what: _target(f"{what}: a frame while scrolling, 95 %", "ms", Bound("value", 34), Bound("value", 17.5))
    for what in ("registered models", "runs of a project")
}
ZOOM = _target("zoom into 10⁶ points", "ms", Bound("value", 50), Bound("value", 35))


def measure(place: Place, folder: Path) -> Iterator[Row]:
    """Both catalogs are written past the services, both servers run at once, and the sides take turns."""
    sizes = Sizes(
        models=place.size(quick=2_000, full=10_000, tiny=20),
        versions=place.size(quick=20_000, full=200_000, tiny=200),
        runs=place.size(quick=2_000, full=10_000, tiny=200),
        points=place.size(quick=1_000_000, full=1_000_000, tiny=5_000),
    )
    rounds = place.size(quick=5, full=15, tiny=1)
    say(f"{sizes.models:,} models, {sizes.versions:,} versions, {sizes.runs:,} runs")
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(chromium())
        million = catalog.fill_ours(folder / "data", sizes)
        port = free_port()
        stack.enter_context(sides.modelyard_server(folder, ["--web-port", str(port)]))
        ours = stack.enter_context(contextlib.closing(Tab(browser, f"http://127.0.0.1:{port}")))
        theirs, their_million = _peer(place, folder / "mlflow", sizes, stack, browser)
        for view in views(million, their_million):
            say(view.what)
            yield from _view(view, ours, theirs, rounds, sizes.models)
        yield from _scrolling(ours)
        yield Row(ZOOM, _zooms(ours, views(million, "")[-1], rounds))


def _peer(
    place: Place, folder: Path, sizes: Sizes, stack: contextlib.ExitStack, browser: object
) -> tuple[Tab | None, str]:
    """A tab on MLflow's page; None where MLflow is missing."""
    try:
        place.require_peers()
        side = stack.enter_context(sides.mlflow_server(folder))
    except NotMeasured as error:
        say(str(error))
        return None, ""
    million = catalog.fill_theirs(side.folder / "mlflow.db", sizes)
    return stack.enter_context(contextlib.closing(Tab(browser, f"http://{side.address}"))), million


def _view(view: View, ours: Tab, theirs: Tab | None, rounds: int, models: int) -> Iterator[Row]:
    first: dict[str, list[list[float]]] = {"ours": [], "theirs": []}
    for side, tab in (("ours", ours), ("theirs", theirs)):
        shown = view.ours if side == "ours" else view.theirs
        if tab is None or shown is None:
            continue
        with _peer_may_fail(side):
            for turn in range(rounds + 1):
                number = (7 * turn + 1) % models
                loaded = tab.load(shown(number))
                calls = tab.calls()
                tab.load(REGISTRY[side])
                gone = tab.go(shown((7 * turn + 2) % models))
                if turn:
                    first[side].append([loaded, gone, calls["milliseconds"], calls["kilobytes"]])
    for column, targets in enumerate((FIRST, THEN, SERVER, BYTES)):
        own, other = ([taken[column] for taken in first[side]] for side in ("ours", "theirs"))
        yield Row(targets[view.what], own, other)


@contextlib.contextmanager
def _peer_may_fail(side: str) -> Iterator[None]:
    """A view that MLflow does not show in time leaves our figures alone."""
    try:
        yield
    except ChildFailed as error:
        if side == "ours":
            raise
        say(f"MLflow: {error}")


def _scrolling(ours: Tab) -> Iterator[Row]:
    """Lists that grow while they are scrolled: MLflow has pages."""
    for view in views("", ""):
        if view.what in SCROLL:
            shown = view.ours(1)
            ours.load(shown)
            yield Row(SCROLL[view.what], [_worst(ours.frames(shown))])


def _worst(frames: Sequence[float]) -> float:
    return statistics.quantiles(frames, n=100)[round(100 * _WORST) - 1]


def _zooms(tab: Tab, view: View, rounds: int) -> list[float]:
    """From the end of a drag over the chart to the frame with its new points."""
    shown = view.ours(1)
    taken = []
    for turn in range(rounds + 1):
        tab.load(shown)
        time.sleep(0.3)  # what the page still draws
        box = tab.page.locator(shown.selector).first.bounding_box()
        assert box is not None
        left, middle = box["x"] + box["width"] * (0.3 + 0.01 * turn), box["y"] + box["height"] / 2
        tab.evaluate("() => bench.watchZoom()")
        tab.page.mouse.move(left, middle)
        tab.page.mouse.down()
        tab.page.mouse.move(left + 100, middle, steps=4)
        tab.page.mouse.up()
        taken.append(float(tab.evaluate("() => bench.zoomed")))
    return taken[1:]


BENCH = Bench(
    "web",
    (*FIRST.values(), *THEN.values(), *SERVER.values(), *BYTES.values(), *SCROLL.values(), ZOOM),
    measure,
)
