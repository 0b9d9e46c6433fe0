"""A ref and an id resolve to what lists show, in a transaction and outside one, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.tables import ArtifactVersion, Link
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import registered_models, resolve, resolve_batch, versions
from modelyard_server.domain.registry.resolve import Resolved
from modelyard_server.domain.registry.resolve_batch import VersionRequest
from modelyard_server.domain.registry.versions import VersionView
from tests.inprocess.registry import ENTITY, Registry, full, somebody

NET = f"{ENTITY}/model-registry/Net Model"
ZOO = "zeta/wandb-registry-b/Zoo"


def _widely_linked(registry: Registry) -> ArtifactVersion:
    """A version with three aliases and four links, one of them in another entity."""
    version = registry.log("bert", "a", names=["best", "a b"], metadata={"lr": 0.1, "nan": float("nan")})
    for target in (NET, f"{ENTITY}/wandb-registry-b/Net Model", f"{ENTITY}/model-registry/A", ZOO):
        registry.link("bert:v0", target, ["staging", "live"])
    return version


def _facts(view: VersionView) -> list[Any]:
    row = {column.key: getattr(view.version, column.key) for column in ArtifactVersion.__table__.columns}
    return [repr(row), view.full_name, list(view.aliases), list(view.linked_to)]


def _by_id(registry: Registry, version_id: str) -> VersionView:
    return registry.read(
        lambda session, principal: versions.describe(
            session, principal, [session.get_one(ArtifactVersion, version_id)]
        )[0]
    )


def _one(registry: Registry, request: VersionRequest) -> Resolved | None:
    try:
        return registry.read(resolve.version, id_=request.id or None, ref=request.ref)
    except errors.NotFound:
        return None


def _resolved(found: Resolved | None) -> list[Any] | None:
    return None if found is None else [*_facts(found.view), found.through_link]


class TestRefLookup:
    @pytest.mark.parametrize(
        "ref", [f"{ENTITY}/p/bert", f"{ENTITY}/p/bert:v0", f"{NET}:staging", f"{NET}:v0"]
    )
    def test_a_ref_an_id_and_a_list_give_the_same_version(self, registry: Registry, ref: str) -> None:
        version = _widely_linked(registry)
        view, through = registry.read(resolve.version, ref=ref, alone=True)
        assert _facts(view) == _facts(_by_id(registry, version.id))
        assert (list(view.aliases), len(view.linked_to)) == (["a b", "best", "latest"], 4)
        assert through == (f"{NET}:v0" if ref.startswith(NET) else "")
        for named in ({"id_": version.id, "alone": True}, {"id_": version.id}, {"ref": ref}):
            assert _facts(registry.read(resolve.version, **named).view) == _facts(view)

    @pytest.mark.parametrize("ref", [NET, f"{NET}:staging", f"{NET}:v0"])
    def test_a_ref_and_a_list_give_the_same_link(self, registry: Registry, ref: str) -> None:
        version = _widely_linked(registry)
        view = registry.read(resolve.link, ref=ref, alone=True)
        assert registry.read(resolve.link, id_=view.link.id) == view
        long = registry.read(
            lambda session, principal: registered_models.describe(
                session, principal, [session.get_one(Link, view.link.id)]
            )[0]
        )
        columns = [column.key for column in Link.__table__.columns]
        assert [getattr(view.link, key) for key in columns] == [getattr(long.link, key) for key in columns]
        assert (view.full_name, list(view.aliases)) == (long.full_name, ["latest", "live", "staging"])
        assert view.source is not None
        assert _facts(view.source) == _facts(_by_id(registry, version.id))

    def test_links_in_entities_of_others_are_not_shown(self, registry: Registry) -> None:
        version = _widely_linked(registry)
        own = Registry(registry.database, somebody("ann", ENTITY))
        view, _ = own.read(resolve.version, ref=f"{ENTITY}/p/bert:best")
        assert len(view.linked_to) == 3
        assert _facts(view) == _facts(_by_id(own, version.id))
        with pytest.raises(errors.NotFound):
            own.read(resolve.version, ref=f"{ZOO}:v0")

    def test_a_batch_resolves_as_one_at_a_time_does(self, registry: Registry) -> None:
        version = _widely_linked(registry)
        hidden = registry.log("bert", "other", entity="zeta")
        registry.link("zeta/p/bert", f"{ENTITY}/model-registry/Borrowed", ["best"])
        deleted = registry.log("bert", "b")
        registry.delete("bert:v1", force=True)
        timed = registry.log("timed", "c", ttl=10**12)
        registry.pass_time()
        refs = ["bert", "bert:best", "bert:v0", "bert:v1", "bert:v7", "bert:none", "timed", "none", "no/bert"]
        refs += [
            NET,
            f"{NET}:staging",
            f"{NET}:v0",
            f"{NET}:v1",
            ZOO,
            f"{ZOO}:v0",
            "zeta/p/bert",
            "nowhere/p/b",
        ]
        refs += ["model-registry/Borrowed", "model-registry/Borrowed:best", "model-registry/Borrowed:v0"]
        wanted = [VersionRequest("", full(ref)) for ref in refs]
        wanted += [VersionRequest(row.id, "") for row in (version, hidden, deleted, timed)]
        found: list[int] = []
        for caller in (registry.principal, somebody("ann", ENTITY), somebody("eve", "evil")):
            own = Registry(registry.database, caller)
            batch = own.read(resolve_batch.versions_of, wanted)
            for request, resolved in zip(wanted, batch, strict=True):
                assert _resolved(resolved) == _resolved(_one(own, request)), request
            found.append(sum(one is not None for one in batch))
        assert found[0] > found[1] > found[2] == 0

    def test_unlinked_versions_are_not_shown(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.log("bert", "b")
        registry.link("bert:v0", NET)
        registry.unlink(f"{NET}:v0")
        view, _ = registry.read(resolve.version, ref=f"{ENTITY}/p/bert:v0")
        assert (list(view.aliases), list(view.linked_to)) == ([], [])

    def test_a_transaction_that_has_begun_sees_its_own_changes(self, registry: Registry) -> None:
        registry.log("bert", "a")

        def change(session: Session, principal: Principal) -> str:
            session.execute(text("UPDATE alias SET alias = 'renamed'"))
            return resolve.version(session, principal, ref=f"{ENTITY}/p/bert:renamed")[0].version.id

        registry.write(change)

    def test_an_error_of_the_database_is_not_reported_as_not_found(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.write(lambda session, _: session.execute(text("ALTER TABLE link RENAME TO gone")))
        with pytest.raises(DBAPIError, match="link"):
            registry.read(resolve.version, ref=f"{ENTITY}/p/bert", alone=True)

    def test_rows_of_entities_of_others_are_not_locked(self, postgresql_registry: Registry) -> None:
        registry = postgresql_registry
        registry.log("bert", "a")
        row = registry.collection("bert")
        eve = Registry(registry.database, somebody("eve", "evil"))

        def locked(session: Session, principal: Principal, **named: str) -> None:
            session.execute(text("SET LOCAL lock_timeout = '200ms'"))
            resolve.collection(session, principal, None, lock=True, **named)

        def hold(session: Session, principal: Principal) -> None:
            locked(session, principal, id_=row.id)
            with pytest.raises(errors.NotFound):
                eve.write(locked, id_=row.id)
            with pytest.raises(errors.NotFound):
                eve.write(locked, ref=f"{ENTITY}/p/bert")

        registry.write(hold)
