"""Links whose source is in an entity that the caller's key does not reach are listed without it."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelyard
from modelyard import errors
from modelyard.artifacts.artifact import Artifact
from tests.clients.commands import json_of, run_command
from tests.parts.embedded import isolate
from tests.parts.server import LiveServer, create_key, new_project

SOURCES, LINKS = "lab", "shop"


@pytest.fixture
def model(any_keyed_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registered model in `shop` with one link to a version in `lab`; this process has a key of `shop`."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELYARD_URL", any_keyed_server.url)
    monkeypatch.setenv("MODELYARD_API_KEY", create_key(any_keyed_server, "all", "--all-entities"))
    name = f"{LINKS}/model-registry/{new_project()}"
    Path("weights").write_bytes(b"weights")
    with modelyard.init(entity=SOURCES, project="research", mode="online") as run:
        logged = run.log_artifact("weights", name=new_project(), type="model")
        run.link_artifact(logged, name, aliases=["production"])
    monkeypatch.setenv("MODELYARD_ENTITY", LINKS)
    monkeypatch.setenv("MODELYARD_API_KEY", create_key(any_keyed_server, "shop", "--entity", LINKS))
    return name


def the_link(model: str) -> Artifact:
    (link,) = modelyard.Api().registered_model(model).versions()
    return link


def test_a_listing_goes_on_past_a_link_whose_source_is_hidden(model: str) -> None:
    link = the_link(model)
    assert (link.qualified_name, link.version) == (f"{model}:v0", "v0")
    assert sorted(link.aliases) == ["latest", "production"]
    assert (link.is_link, link.is_draft(), link.state) == (True, False, "COMMITTED")
    assert (link.description, link.metadata, list(link.tags)) == (None, {}, [])
    assert model in repr(link)
    assert link == the_link(model)
    assert hash(link) == hash(the_link(model))


def test_a_filter_of_events_cannot_find_hidden_sources(model: str) -> None:
    registry, name = model.split("/")[1:]
    (linked,) = modelyard.Api().events(registry, filter=f'type = "linked" AND collection = "{name}"')
    assert linked.linked == ""
    for guess in (
        'linked : "lab"',
        'linked != ""',
        "linked : *",
        'details.linked : "lab"',
        'collection.linked : "lab"',
    ):
        with pytest.raises(errors.InvalidFilter):
            list(modelyard.Api().events(registry, filter=guess))


def test_every_way_to_the_link_shows_it(model: str) -> None:
    api = modelyard.Api()
    found = api.registered_model(model)
    assert [each.version for each in found.versions(filter='aliases : "production"')] == ["v0"]
    assert found.latest.version == found.version("production").version == "v0"
    assert found.aliases == ["latest", "production"]
    assert model in {each.qualified_name.partition(":")[0] for each in api.registry().versions()}
    assert found.latest.collection == found


def test_fields_of_a_hidden_source_are_refused_with_the_reason(model: str) -> None:
    link = the_link(model)
    for member in ("id", "digest", "size", "file_count", "source_name", "created_at", "manifest"):
        with pytest.raises(errors.NotAllowed, match="does not reach"):
            getattr(link, member)
    for call in (link.download, link.files, link.logged_by, link.used_by, link.lineage, link.new_draft):
        with pytest.raises(errors.NotAllowed, match="does not reach"):
            call()
    link.metadata = {"acc": 1}
    with pytest.raises(errors.NotAllowed, match="does not reach"):
        link.save()


def test_aliases_of_the_link_can_be_moved_and_the_link_removed(model: str) -> None:
    link = the_link(model)
    link.aliases.append("shadow")
    link.aliases.remove("production")
    link.save()
    assert sorted(the_link(model).aliases) == ["latest", "shadow"]
    link.delete()
    assert list(modelyard.Api().registered_model(model).versions()) == []


def test_commands_show_the_link_without_its_source(model: str) -> None:
    for arguments in (
        ("ls", model),
        ("show", model),
        ("model", "show", model),
        ("model", "show", f"{model}:v0"),
        ("alias", "ls", model),
        ("search", 'aliases : "production"', "--kind", "links"),
    ):
        done = run_command(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        assert "v0" in done.stdout, (arguments, done.stdout)
        assert "(not visible)" in done.stdout, (arguments, done.stdout)
        json_of(*arguments)
    assert json_of("model", "show", f"{model}:v0")["source"] is None


def test_a_reference_through_the_link_says_that_the_source_is_out_of_reach(model: str) -> None:
    with pytest.raises(errors.NotFound, match="you may not read it"):
        modelyard.Api().artifact(f"{model}:v0")
    with modelyard.init(project="p", mode="online") as run, pytest.raises(errors.NotFound):
        run.use_model(f"{model}:v0")


def test_events_of_the_link_are_listed(model: str) -> None:
    found = [event for event in modelyard.Api().events(f"{LINKS}/model-registry") if event.type == "linked"]
    (linked,) = [event for event in found if event.collection == model.rpartition("/")[2]]
    assert (linked.version, linked.linked) == ("v0", "")


def test_events_at_the_source_do_not_name_the_link(
    any_keyed_server: LiveServer, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_id = next(
        event.version_id
        for event in modelyard.Api().events(f"{LINKS}/model-registry")
        if event.type == "linked" and event.collection == model.rpartition("/")[2]
    )
    monkeypatch.setenv("MODELYARD_ENTITY", SOURCES)
    monkeypatch.setenv("MODELYARD_API_KEY", create_key(any_keyed_server, "lab", "--entity", SOURCES))
    api = modelyard.Api()
    events = [event for event in api.events(f"{SOURCES}/research") if event.version_id == version_id]
    assert [(event.type, event.linked) for event in events if event.type == "linked"] == [("linked", "")]
    name = f"{SOURCES}/research/{next(event.collection for event in events)}:v0"
    with pytest.raises(errors.VersionLinked, match="1 in entities that this key does not reach") as refused:
        api.artifact(name).delete(delete_aliases=False)
    assert LINKS not in str(refused.value)
