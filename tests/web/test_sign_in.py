"""How a person signs in, in a browser: by a key where nobody else can read it, and what is said elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect

from modelyard.local.v1 import local_pb2
from tests.parts.server import Factory, LiveServer, create_key
from tests.web.chromium import CHROMIUM, Visit

AWAY = "models.test"
"""A name that the browser `away` takes for this machine's, without knowing that it is."""


@pytest.fixture
def away(chromium: Browser) -> Iterator[Browser]:
    """A browser for which AWAY is another machine."""
    rules = f"--host-resolver-rules=MAP {AWAY} 127.0.0.1"
    browser = chromium.browser_type.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
    yield browser
    browser.close()


@pytest.fixture
def behind_proxy(live_server_factory: Factory) -> tuple[LiveServer, str]:
    """A server as the composition runs it, over plain HTTP, and a key."""
    server = live_server_factory("--web-port", "0", "--web-behind-proxy", "--web-host", AWAY)
    key = create_key(server, "mira", "--entity", "acme")
    return server.start(), key


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_behind_a_proxy_without_a_certificate_loopback_is_enough(
    chromium: Browser, behind_proxy: tuple[LiveServer, str], name: str
) -> None:
    server, key = behind_proxy
    visit = Visit(chromium, f"http://{name}:{urlsplit(server.web_url).port}")
    visit.expected = ["401"]
    page = visit.page
    try:
        page.goto("/registry/model")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="No registered model yet")).to_be_visible()
        (cookie,) = visit.context.cookies()
        assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("__Host-modelyard", True, True)
        page.reload()
        expect(page.get_by_role("img", name="Account of mira")).to_be_visible()
        assert visit.problems == []
    finally:
        visit.close()


def test_on_another_machine_no_key_is_asked_for_over_plain_http(
    away: Browser, behind_proxy: tuple[LiveServer, str]
) -> None:
    visit = Visit(away, f"http://{AWAY}:{urlsplit(behind_proxy[0].web_url).port}")
    visit.expected = ["401", "Cross-Origin-Opener-Policy"]
    page = visit.page
    try:
        page.goto("/registry/model")
        expect(page.get_by_role("heading", name="Not over plain HTTP")).to_be_visible()
        expect(page.get_by_role("main")).to_contain_text("https://")
        expect(page.get_by_label("API key")).to_have_count(0)
        assert visit.violations() == []
        assert visit.problems == []
    finally:
        visit.close()


def test_a_page_that_a_command_opens_asks_for_no_key(chromium: Browser, live_server_factory: Factory) -> None:
    server = live_server_factory("--embedded", "--idle-seconds", "600").start()
    link = server.stubs().local.OpenWeb(local_pb2.OpenWebRequest()).url
    visit = Visit(chromium, link.partition("/open")[0])
    visit.expected = ["401"]
    page = visit.page
    try:
        page.goto("/")
        expect(page.get_by_role("main")).to_contain_text("modelyard web")
        expect(page.get_by_label("API key")).to_have_count(0)
        assert visit.violations() == []
        page.goto(link)
        expect(page.get_by_role("heading", name="No registered model yet")).to_be_visible()
        assert visit.problems == []
    finally:
        visit.close()
