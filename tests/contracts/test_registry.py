"""The rules for artifacts, registered models, links and aliases, on every database."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.tables import ArtifactVersion, VersionFile
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import (
    artifacts,
    collections,
    deletes,
    registered_models,
    resolve,
    versions,
)
from modelyard_server.domain.registry.aliases import Change
from tests.inprocess.registry import ENTITY, Registry

MODEL = "model-registry/Churn"


class TestRegistry:
    def test_versions_count_up_and_latest_follows_the_last_log(self, registry: Registry) -> None:
        assert [registry.log("bert", text).number for text in "abc"] == [0, 1, 2]
        assert registry.number("bert") == 2
        assert registry.number("bert:v1") == 1

    def test_equal_content_is_the_same_version_and_takes_the_aliases(self, registry: Registry) -> None:
        first = registry.log("bert", "a", names=["best"])
        registry.log("bert", "b", names=["best"])
        again = registry.log("bert", "a", names=["best"])
        assert again.id == first.id
        assert (registry.number("bert:latest"), registry.number("bert:best")) == (0, 0)

    def test_an_unknown_reference_is_named_in_full(self, registry: Registry) -> None:
        registry.log("bert", "a")
        for ref in ("bert:nope", "bert:v7", "other", "elsewhere/bert"):
            with pytest.raises(errors.NotFound) as caught:
                registry.number(ref)
            assert caught.value.metadata["ref"].startswith(f"{ENTITY}/")
        assert caught.value.metadata["ref"] == f"{ENTITY}/elsewhere/bert:latest"

    @pytest.mark.parametrize("ref", ["", "a/b/c/d", "bert:", "bert:v01", "b\0", "..", "a:b:c", "x" * 129])
    def test_a_reference_outside_the_grammar_names_its_field(self, registry: Registry, ref: str) -> None:
        with pytest.raises(errors.InvalidField) as caught:
            registry.read(resolve.version, ref=ref)
        assert caught.value.violations[0][0] == "ref"

    def test_a_name_keeps_its_type(self, registry: Registry) -> None:
        registry.log("corpus", "a", type="dataset")
        assert registry.collection("corpus").type == "dataset"
        registry.log("corpus", "b")
        with pytest.raises(errors.TypeMismatch):
            registry.log("corpus", "c", type="model")
        row = registry.collection("corpus")
        registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=True))
        with pytest.raises(errors.TypeMismatch):
            registry.log("corpus", "d", type="model")

    def test_artifacts_cannot_be_logged_to_a_registry(self, registry: Registry) -> None:
        for project in ("model-registry", "wandb-registry-vision"):
            with pytest.raises(errors.InvalidField) as caught:
                registry.log("bert", "a", project=project)
            assert caught.value.violations[0][0] == "header.project"

    def test_a_deleted_artifact_comes_back_empty_and_counts_on(self, registry: Registry) -> None:
        registry.log("bert", "a", names=["best"])
        registry.log("bert", "b")
        row = registry.collection("bert")
        with pytest.raises(errors.VersionHasAliases):
            registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=False))
        registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=True))
        with pytest.raises(errors.NotFound):
            registry.collection("bert")
        assert registry.log("bert", "a").number == 2
        with pytest.raises(errors.NotFound):
            registry.number("bert:v0")

    def test_an_artifact_with_latest_alone_is_deleted(self, registry: Registry) -> None:
        registry.log("bert", "a")
        row = registry.collection("bert")
        registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=False))
        with pytest.raises(errors.NotFound):
            registry.collection("bert")

    def test_create_refuses_a_name_that_is_taken(self, registry: Registry) -> None:
        wanted = {"entity": ENTITY, "project": "p", "name": "bert", "description": "d", "tags": ["a b"]}
        row = registry.write(artifacts.create, type_="model", **wanted)
        assert (row.description, row.tags, row.next_version) == ("d", ["a b"], 0)
        with pytest.raises(errors.AlreadyExists):
            registry.write(artifacts.create, type_="model", **wanted)
        with pytest.raises(errors.AlreadyExists):
            registry.write(registered_models.create, type_="model", **wanted)

    def test_deleting_a_version_with_aliases_or_links_needs_force(self, registry: Registry) -> None:
        registry.log("bert", "a")
        with pytest.raises(errors.VersionHasAliases) as aliased:
            registry.delete("bert:v0")
        assert aliased.value.metadata["aliases"] == "latest"
        registry.log("bert", "b")
        registry.link("bert:v0", "Churn", ["production"])
        with pytest.raises(errors.VersionLinked) as linked:
            registry.delete("bert:v0")
        assert f"{ENTITY}/{MODEL}:v0" in str(linked.value)
        registry.delete("bert:v0", force=True)
        for ref in ("bert:v0", f"{MODEL}:production", MODEL):
            with pytest.raises(errors.NotFound):
                registry.number(ref)
        assert [e.details["linked"] for e in registry.events("p", "unlinked")] == [f"{ENTITY}/{MODEL}:v0"]
        assert [e.details["linked"] for e in registry.events("model-registry", "unlinked")] == [
            f"{ENTITY}/p/bert:v0"
        ]
        gone = [e.details["alias"] for e in registry.events("model-registry", "alias_removed")]
        assert gone == ["latest", "production"]

    def test_latest_goes_to_the_newest_version_that_remains(self, registry: Registry) -> None:
        for text in "abc":
            registry.log("bert", text)
        registry.delete("bert:v2", force=True)
        assert registry.number("bert") == 1
        moved = registry.events("p", "alias_added")[-1].details
        assert (moved["version"], moved["previous_version"]) == ("v1", "v2")
        assert registry.log("bert", "c").number == 3
        registry.delete("bert:v1")
        assert registry.number("bert") == 3

    def test_a_deleted_version_leaves_a_tombstone_without_files(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        registry.delete("bert:v0", force=True)

        def left(session: Session, _: Principal) -> tuple[bool, int]:
            row = session.get_one(ArtifactVersion, version.id)
            query = select(func.count()).select_from(VersionFile).where(VersionFile.version_id == version.id)
            return row.deleted_at is not None, session.scalars(query).one()

        assert registry.read(left) == (True, 0)
        with pytest.raises(errors.NotFound):
            registry.read(resolve.version, id_=version.id)
        with pytest.raises(errors.NotFound):
            registry.number("bert")

    def test_links_have_numbers_and_aliases_of_their_own(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.log("bert", "b")
        assert registry.link("bert:v1", "Churn", ["staging"]).number == 0
        assert registry.link("bert:v0", "Churn").number == 1
        assert (registry.number(f"{MODEL}:staging"), registry.number(MODEL)) == (1, 0)
        with pytest.raises(errors.NotFound):
            registry.number("bert:staging")
        resolved = registry.read(resolve.version, ref=f"{ENTITY}/{MODEL}:staging")
        assert resolved.through_link == f"{ENTITY}/{MODEL}:v0"
        view = registry.read(lambda s, p: versions.describe(s, p, [resolved.version])[0])
        assert [link.ref for link in view.linked_to] == [f"{ENTITY}/{MODEL}:v0"]
        assert view.aliases == ["latest"]

    def test_linking_again_keeps_the_number_and_moves_latest(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.log("bert", "b")
        first = registry.link("bert:v0", "Churn")
        registry.link("bert:v1", "Churn")
        again = registry.link("bert:v0", "Churn", ["gold"])
        assert (again.id, again.number) == (first.id, 0)
        assert (registry.number(MODEL), registry.number(f"{MODEL}:gold")) == (0, 0)
        assert len(registry.events("model-registry", "linked")) == 2

    def test_unlinking_gives_latest_to_the_last_link_call_that_remains(self, registry: Registry) -> None:
        for text in "abc":
            registry.log("bert", text)
        for ref in ("bert:v0", "bert:v1", "bert:v2", "bert:v0", "bert:v1"):
            registry.link(ref, "Churn")
        registry.unlink(f"{MODEL}:v1")
        assert registry.number(MODEL) == 0  # linked again after v2
        registry.unlink(f"{MODEL}:v0")
        assert registry.number(MODEL) == 2
        assert registry.link("bert:v0", "Churn").number == 3
        assert registry.number("bert:v0") == 0

    def test_linking_a_link_links_its_source(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        registry.link("bert", "Churn")
        assert registry.link(f"{MODEL}:latest", "wandb-registry-prod/Best model").version_id == version.id

    def test_a_registered_model_takes_one_type(self, registry: Registry) -> None:
        registry.log("corpus", "a", type="dataset")
        registry.log("bert", "a")
        registry.link("corpus", "Data")
        with pytest.raises(errors.TypeMismatch):
            registry.link("bert", "Data")
        with pytest.raises(errors.TypeMismatch):
            registry.link("bert", "p/corpus")
        registry.link("bert", "p/Other")
        with pytest.raises(errors.TypeMismatch):
            registry.log("Other", "x")

    def test_linking_clears_the_expiry(self, registry: Registry) -> None:
        version = registry.log("bert", "a", ttl=10**12)
        assert version.expires_at is not None
        registry.link("bert", "Churn")
        assert registry.read(resolve.version, id_=version.id).version.expires_at is None
        with pytest.raises(errors.VersionLinked):
            registry.write(lambda s, p: versions.update(s, p, version, expires_at=1 << 60, set_expiry=True))

    @pytest.mark.parametrize("target", ["", "a/b/c/d", "Churn:v1", "Churn:production", " Churn", "a//b"])
    def test_a_target_outside_the_grammar_names_its_field(self, registry: Registry, target: str) -> None:
        registry.log("bert", "a")
        with pytest.raises(errors.InvalidField) as caught:
            registry.link("bert", target)
        assert caught.value.violations[0][0] == "target_ref"

    def test_a_deleted_registered_model_counts_on_and_leaves_the_versions(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.link("bert", "Churn", ["production"])

        def delete(session: Session, principal: Principal, *, force: bool) -> None:
            model = resolve.collection(session, principal, "model", ref=f"{ENTITY}/{MODEL}")
            deletes.delete_model(session, principal, model, force=force)

        for refused in (
            lambda: registry.write(delete, force=False),
            lambda: registry.unlink(f"{MODEL}:v0", force=False),
        ):
            with pytest.raises(errors.VersionHasAliases, match="the aliases production;"):
                refused()
        assert registry.number(f"{MODEL}:production") == 0
        registry.write(delete, force=True)
        with pytest.raises(errors.NotFound):
            registry.number(f"{MODEL}:production")
        assert registry.number("bert") == 0
        assert registry.link("bert", "Churn").number == 1

    def test_renaming_refuses_a_taken_name_and_moves_the_links(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.link("bert", "Churn")
        registry.link("bert", "Other")

        def rename(session: Session, principal: Principal, name: str) -> None:
            row = resolve.collection(session, principal, "model", ref=f"{ENTITY}/{MODEL}", lock=True)
            collections.change(session, principal, row, name=name, prefix="registered_model.")

        with pytest.raises(errors.AlreadyExists):
            registry.write(rename, "Other")
        registry.write(rename, "Churn 2")
        assert registry.number("model-registry/Churn 2") == 0
        with pytest.raises(errors.NotFound):
            registry.number(MODEL)

    def test_aliases_change_together_or_not_at_all(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.log("bert", "b")
        assert registry.move("bert", Change("staging", "v0", None), Change("production", "v1", "")) == {
            "latest": 1,
            "production": 1,
            "staging": 0,
        }
        with pytest.raises(errors.AliasChanged) as caught:
            registry.move("bert", Change("staging", "", None), Change("production", "v0", "v0"))
        assert caught.value.metadata["alias"] == "production"
        assert caught.value.metadata["version"] == "v1"
        with pytest.raises(errors.NotFound):
            registry.move("bert", Change("staging", "", None), Change("production", "v9", None))
        assert registry.move("bert", Change("production", "v0", "v1"), Change("staging", "", "v0")) == {
            "latest": 1,
            "production": 0,
        }

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ([], "updates"),
            ([Change("a", "v0", None), Change("a", "", None)], "updates[1].alias"),
            ([Change("v1", "v0", None)], "updates[0].alias"),
            ([Change("a/b", "v0", None)], "updates[0].alias"),
            ([Change("a", "latest", None)], "updates[0].version"),
            ([Change("a", "v0", "x")], "updates[0].expected_version"),
            ([Change(f"a{n}", "v0", None) for n in range(101)], "updates"),
        ],
    )
    def test_bad_changes_of_aliases_name_their_field(
        self, registry: Registry, changes: list[Change], field: str
    ) -> None:
        registry.log("bert", "a")
        with pytest.raises(errors.InvalidField) as caught:
            registry.move("bert", *changes)
        assert caught.value.violations[0][0] == field
