"""What scripts and commands print leads to the page: addresses, and the link of an embedded server."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from playwright.sync_api import Browser, Page, expect

import modelyard
from modelyard.local.v1 import local_pb2
from modelyard.rpc import embedded
from tests.clients.commands import json_of, refused, run_command
from tests.parts.embedded import isolate
from tests.parts.server import Factory, LiveServer, create_key
from tests.web.chromium import Visit

MODEL = "Digit Reader"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A folder in which this process is a script, without the settings of the machine."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("CI", "1")  # no browser
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    yield monkeypatch
    modelyard.finish()


@pytest.fixture
def served(web_server: LiveServer, script: pytest.MonkeyPatch) -> LiveServer:
    """A server with a page that scripts and commands of this process use."""
    script.setenv("MODELYARD_URL", web_server.url)
    return web_server


@pytest.fixture
def private(live_server_factory: Factory, script: pytest.MonkeyPatch) -> LiveServer:
    """An embedded server that scripts and commands of this process use."""
    server = live_server_factory("--embedded", "--idle-seconds", "600").start()
    script.setenv("MODELYARD_DATA_DIR", str(server.data))
    return server


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    visit = Visit(chromium, "")
    yield visit
    visit.close()
    assert visit.problems == []


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def link_model(project: str) -> modelyard.Run:
    """A finished run that logged a model and linked it."""
    Path("model.bin").write_text(project)
    with modelyard.init(project=project, name=f"trainer of {project}") as run:
        run.log({"acc": 0.9})
        run.link_model("model.bin", f"{MODEL} {project}", name="reader", aliases=["staging"])
    return run


def test_every_address_of_the_sdk_leads_to_its_view(served: LiveServer, page: Page) -> None:
    run = link_model("addresses")
    api = modelyard.Api()
    link = api.artifact(f"model-registry/{MODEL} addresses:staging")
    version = api.artifact("addresses/reader:v0")
    name = f"{MODEL} addresses"
    shown = {
        run.url: "trainer of addresses",
        run.get_url(): "trainer of addresses",
        api.run(run.path).url: "trainer of addresses",
        run.project_url: "Runs",
        run.get_project_url(): "Runs",
        api.project("addresses").url: "Runs",
        version.url: "reader:v0",
        link.url: f"{name}:v0",
        api.artifact_collection("model", "addresses/reader").url: "reader:v0",
        api.artifact_collection("model", f"model-registry/{name}").url: name,
        api.project("model-registry").url: "Registered models",
    }
    for url, heading in shown.items():
        assert url is not None
        assert url.startswith(f"{served.web_url}/"), url
        page.goto(url)
        expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()


def test_the_lines_around_a_run_say_where_it_is_shown(
    served: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = link_model("lines")
    printed = capsys.readouterr().err
    assert f"View run at: {run.url}\n" in printed
    assert f"View run trainer of lines at: {run.url}\n" in printed
    assert run.display() is False
    assert f"Run trainer of lines: {run.url}\n" in capsys.readouterr().err
    shown = (run, modelyard.Api().run(run.path), modelyard.Api().artifact("lines/reader:v0"))
    for one in shown:
        assert f'<a href="{one.url}" target="_blank" rel="noopener">' in one._repr_html_()


def test_commands_say_where_things_are_shown(served: LiveServer) -> None:
    run = link_model("commands")
    version = modelyard.Api().artifact("commands/reader:v0")
    model = f"model-registry/{MODEL} commands"
    link = modelyard.Api().artifact(f"{model}:v0")
    for ref, url in ((run.path, run.url), ("commands/reader:v0", version.url), (f"{model}:v0", link.url)):
        assert f"Page  {url}" in re.sub(" +", "  ", run_command("show", ref).stdout)
        assert json_of("show", ref)["url"] == url
        assert json_of("open", ref) == {"url": url}
        assert run_command("open", ref).stdout == f"Open the page: {url}\n"
    assert f"View it at: {link.url}" in run_command("link", "commands/reader:v0", model).stderr
    with modelyard.init(project="commands", mode="offline") as offline:
        assert (offline.url, offline.get_url(), offline.project_url) == (None, None, None)
        assert offline.id in offline._repr_html_()
    sent = run_command("sync", str(offline.sync_dir))
    assert f"View run at: {served.web_url}/local/commands/runs/{offline.id}\n" in sent.stderr


def test_open_takes_what_a_ref_may_mean(served: LiveServer) -> None:
    link_model("opened")
    for ref, path in {
        "opened": "/local/opened",
        "local/opened/": "/local/opened",
        "opened/reader": "/local/opened/artifacts/model/reader",
        "local/opened/reader:v0": "/local/opened/artifacts/model/reader/v0",
        f"{MODEL} opened": f"/local/model-registry/models/{MODEL.replace(' ', '%20')}%20opened",
        "model-registry": "/registry?entity=local",
    }.items():
        assert json_of("open", ref, "--print") == {"url": served.web_url + path}, ref
    assert "no such" in refused(3, "open", "opened/nothing")
    assert "nothing" in refused(3, "open", "opened/nothing:v1")
    refused(3, "open", "no-such-project")


def test_a_run_of_an_embedded_server_is_opened_by_the_command_that_it_prints(
    private: LiveServer, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    run = link_model("private")
    command = f"modelyard open {run.path}"
    assert run.url == modelyard.Api().run(run.path).url == command
    assert f"View run trainer of private: {command}\n" in capsys.readouterr().err
    link = modelyard.Api().artifact(f"model-registry/{MODEL} private:v0")
    assert shlex.split(link.url) == ["modelyard", "open", link.qualified_name]
    page.goto(json_of(*shlex.split(command)[1:])["url"])
    expect(page.get_by_role("heading", name="trainer of private")).to_be_visible()
    # Now that the page is open it has an address, in this browser.
    assert page.url == run.url == modelyard.Api().run(run.path).url
    page.goto(link.url)
    expect(page.get_by_role("heading", name=link.name)).to_be_visible()
    assert modelyard.Api().artifact("private/reader:v0").url.startswith("http://127.0.0.1:")


def test_a_server_that_was_killed_has_no_page(private: LiveServer) -> None:
    run = link_model("killed")
    json_of("web")
    assert run.url is not None
    assert run.url.startswith("http://")
    private.kill()
    assert json.loads((private.data / "server.json").read_text())["page"]
    assert run.url == f"modelyard open {run.path}"


def test_an_embedded_server_is_not_started_for_an_address(private: LiveServer) -> None:
    run = link_model("ended")
    found = modelyard.Api().run(run.path)
    private.send(signal.SIGTERM)
    private.wait()
    assert found.url == f"modelyard open {run.path}"
    assert not (private.data / "server.json").exists()


def test_a_page_is_believed_where_the_token_is(private: LiveServer) -> None:
    """Others could write an address of theirs, where they may write at all."""
    json_of("web")
    assert embedded.page_of(private.data).startswith("http://")
    private.data.chmod(0o777)
    assert embedded.page_of(private.data) == ""
    private.data.chmod(0o700)


def test_without_a_page_the_text_is_shown(
    live_server: LiveServer, script: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script.setenv("MODELYARD_URL", live_server.url)
    run = link_model("textual")
    assert run.url == f"modelyard show {run.path}"
    assert run.project_url == "modelyard ls local/textual"
    link = modelyard.Api().artifact(f"model-registry/{MODEL} textual:v0")
    assert run_command(*shlex.split(link.url)[1:]).stdout.startswith("Link")
    assert "Page" not in run_command("show", run.path).stdout
    assert "has no page" in refused(1, "open", run.path)


def test_a_server_that_is_away_is_not_waited_for(
    live_server_factory: Factory, script: pytest.MonkeyPatch
) -> None:
    server = live_server_factory("--web-port", "0").start()
    script.setenv("MODELYARD_URL", server.url)
    run = link_model("away")
    found = modelyard.Api().run(run.path)
    address = found.url
    server.stop()
    assert run.url == found.url == address


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "x", "http://evil.example", "/a\nb"])
def test_a_link_leads_to_no_other_server(private: LiveServer, path: str) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        private.stubs().local.OpenWeb(local_pb2.OpenWebRequest(path=path))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_key_is_asked_for_at_the_view_that_a_link_names(
    live_server_factory: Factory, script: pytest.MonkeyPatch, visit: Visit
) -> None:
    visit.expected, page = ["401"], visit.page  # Chromium reports refusals of calls, too
    server = live_server_factory("--web-port", "0")
    key = create_key(server, "ada")
    server.start()
    script.setenv("MODELYARD_URL", server.url)
    script.setenv("MODELYARD_API_KEY", key)
    run = link_model("keyed")
    assert os.environ["MODELYARD_API_KEY"] not in str(run.url)
    page.goto(str(run.url))
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="trainer of keyed")).to_be_visible()
    assert page.url == run.url
