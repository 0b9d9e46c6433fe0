"""A page in Chromium, and how long it takes, by the browser's own clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.bench.children import ChildFailed
from tests.bench.results import NotMeasured
from tests.bench.web.views import Shown
from tests.web.chromium import CHROMIUM, DESKTOP

_READY = Path(__file__).with_name("ready.js")
_SECONDS = 60
_FRAMES_SECONDS = 3
_PIXELS_A_FRAME = 60


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. Raises NotMeasured."""
    if not CHROMIUM:
        raise NotMeasured("chromium is not installed; .ci/install-parts does it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab on one side, with the browser's cache filled by a first visit."""

    def __init__(self, browser: Browser, base: str) -> None:
        self._context = browser.new_context(base_url=base, viewport=DESKTOP)
        self._context.set_default_timeout(_SECONDS * 1000)
        self._context.add_init_script(path=_READY)
        self.page: Page = self._context.new_page()

    def close(self) -> None:
        """Ends it."""
        self._context.close()

    def load(self, view: Shown) -> float:
        """Milliseconds from the start of the navigation to the view."""
        self._ask(lambda: self.page.goto("about:blank"))
        self._ask(lambda: self.page.goto(view.path, wait_until="commit"))
        return float(self.evaluate("ready => bench.until(ready)", view.ready))

    def go(self, view: Shown) -> float:
        """Milliseconds from one view to another, without loading the page again."""
        return float(self.evaluate("([path, ready]) => bench.go(path, ready)", [view.path, view.ready]))

    def calls(self) -> dict[str, float]:
        """The calls since the page was loaded: `count`, `kilobytes`, `milliseconds` at the server."""
        self.page.wait_for_timeout(500)  # those that are on their way
        found: dict[str, float] = self.evaluate("() => bench.calls(0)")
        return found

    def frames(self, view: Shown) -> list[float]:
        """Milliseconds of each frame while the list of a view is scrolled."""
        asked = [view.selector, _FRAMES_SECONDS, _PIXELS_A_FRAME]
        found = self.evaluate("([selector, seconds, speed]) => bench.frames(selector, seconds, speed)", asked)
        if not found["furthest"]:
            raise ChildFailed("nothing was scrolled")
        taken: list[float] = found["taken"]
        return taken

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """What a script gives in the page."""
        return self._ask(lambda: self.page.evaluate(script, argument))

    def _ask(self, call: Any) -> Any:
        try:
            return call()
        except PlaywrightError as error:
            raise ChildFailed(f"{self.page.url}: {str(error).splitlines()[0]}") from error
