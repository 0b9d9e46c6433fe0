"""Real Chromium with a page that fails its test for every error and every violation of the content policy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from tests.parts.processes import require

DESKTOP, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
"""The program; empty without one."""
WAIT_MS = 15_000
"""How long an expectation may take to come true on a busy machine."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module: as long as it lives, an event loop runs in their thread."""
    executable = require(CHROMIUM or None, "chromium")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(executable), args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page with what went wrong on it."""

    def __init__(self, browser: Browser, base: str, **options: Any) -> None:
        self.context = browser.new_context(base_url=base, **{"viewport": DESKTOP, **options})
        self.context.set_default_timeout(WAIT_MS)
        self.problems: list[str] = []
        self.expected: list[str] = []
        """Parts of messages that the test provokes."""
        self.page = self.open()

    def open(self) -> Page:
        """A further tab."""
        page = self.context.new_page()
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self._note("error", str(error)))
        return page

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"} and not any(part in text for part in self.expected):
            self.problems.append(text)

    def violations(self) -> list[str]:
        """What axe finds against the accessibility rules in the page as it is."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found
            for node in one["nodes"]
        ]

    def close(self) -> None:
        self.context.close()
