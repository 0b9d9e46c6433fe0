"""Projects with what they hold: what is counted, and who may see and make them."""

from __future__ import annotations

import pytest

from modelyard import errors
from modelyard_server.domain import projects
from modelyard_server.domain.registry import deletes
from tests.inprocess.registry import ENTITY, Registry, somebody


def _page(registry: Registry, entity: str = ENTITY) -> list[projects.ProjectView]:
    found, token = registry.read(
        projects.page, entity=entity, filter_="", order_by="", page_size=0, page_token=""
    )
    assert token == ""
    return found


class TestProjects:
    def test_what_was_deleted_is_not_counted(self, registry: Registry) -> None:
        registry.write(projects.create, ENTITY, "empty")
        registry.log("bert", "a")
        registry.log("gone", "a")
        registry.link("bert", "p/Churn")
        row = registry.collection("gone")
        registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=True))
        counted = {
            view.row.name: (view.artifacts, view.registered_models, view.runs) for view in _page(registry)
        }
        assert counted == {"empty": (0, 0, 0), "p": (1, 1, 0)}

    def test_the_newest_event_is_the_last_activity(self, registry: Registry) -> None:
        registry.log("bert", "a")
        [before] = _page(registry)
        registry.log("bert", "b")
        [after] = _page(registry)
        assert before.row.created_at <= before.active_at < after.active_at

    def test_only_those_who_may_enter_the_entity_see_and_make_projects(self, registry: Registry) -> None:
        registry.log("bert", "a")
        stranger = Registry(registry.database, somebody("eve", "other"))
        for rule in (lambda: _page(stranger), lambda: stranger.read(projects.get, ENTITY, "p")):
            with pytest.raises(errors.NotFound):
                rule()
        with pytest.raises(errors.NotAllowed):
            stranger.write(projects.create, ENTITY, "new")
        assert stranger.write(projects.create, "", "new").entity == "other"
        assert [view.row.name for view in _page(stranger, "")] == ["new"]
        with pytest.raises(errors.NotFound):
            stranger.read(projects.principals, entity=ENTITY, page_size=0, page_token="")
