"""What holds for artifacts, registered models, links and aliases, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelyard import errors
from modelyard_server.db.tables import ArtifactVersion, VersionFile
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import artifacts, collections, deletes, registered_models, versions
from modelyard_server.domain.registry.aliases import Change
from tests.rules.on_databases import ENTITY, Yard, postgresql_database, sqlite_database

MODEL = "model-registry/Churn"


class RegistryContract:
    """Subclasses say which database."""

    @pytest.fixture
    def yard(self) -> Iterator[Yard]:
        raise NotImplementedError

    def test_versions_count_up_and_latest_follows_the_last_log(self, yard: Yard) -> None:
        assert [yard.log("bert", text).number for text in "abc"] == [0, 1, 2]
        assert yard.number("bert") == 2
        assert yard.number("bert:v1") == 1

    def test_equal_content_is_the_same_version_and_takes_the_aliases(self, yard: Yard) -> None:
        first = yard.log("bert", "a", names=["best"])
        yard.log("bert", "b", names=["best"])
        again = yard.log("bert", "a", names=["best"])
        assert again.id == first.id
        assert (yard.number("bert:latest"), yard.number("bert:best")) == (0, 0)

    def test_an_unknown_reference_is_named_in_full(self, yard: Yard) -> None:
        yard.log("bert", "a")
        for ref in ("bert:nope", "bert:v7", "other", "elsewhere/bert"):
            with pytest.raises(errors.NotFound) as caught:
                yard.number(ref)
            assert caught.value.metadata["ref"].startswith(f"{ENTITY}/")
        assert caught.value.metadata["ref"] == f"{ENTITY}/elsewhere/bert:latest"

    @pytest.mark.parametrize("ref", ["", "a/b/c/d", "bert:", "bert:v01", "b\0", "..", "a:b:c", "x" * 129])
    def test_a_reference_outside_the_grammar_names_its_field(self, yard: Yard, ref: str) -> None:
        with pytest.raises(errors.InvalidField) as caught:
            yard.read(versions.resolve, ref)
        assert caught.value.violations[0][0] == "ref"

    def test_a_name_keeps_its_type_for_ever(self, yard: Yard) -> None:
        yard.log("corpus", "a", type="dataset")
        assert yard.collection("corpus").type == "dataset"
        yard.log("corpus", "b")
        with pytest.raises(errors.TypeMismatch):
            yard.log("corpus", "c", type="model")
        row = yard.collection("corpus")
        yard.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), delete_aliases=True))
        with pytest.raises(errors.TypeMismatch):
            yard.log("corpus", "d", type="model")

    def test_a_registry_holds_no_artifacts(self, yard: Yard) -> None:
        for project in ("model-registry", "wandb-registry-vision"):
            with pytest.raises(errors.InvalidField) as caught:
                yard.log("bert", "a", project=project)
            assert caught.value.violations[0][0] == "header.project"

    def test_a_deleted_artifact_comes_back_empty_and_counts_on(self, yard: Yard) -> None:
        yard.log("bert", "a")
        yard.log("bert", "b")
        row = yard.collection("bert")
        with pytest.raises(errors.VersionHasAliases):
            yard.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), delete_aliases=False))
        yard.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), delete_aliases=True))
        with pytest.raises(errors.NotFound):
            yard.collection("bert")
        assert yard.log("bert", "a").number == 2
        with pytest.raises(errors.NotFound):
            yard.number("bert:v0")

    def test_create_refuses_a_name_that_is_taken(self, yard: Yard) -> None:
        wanted = {"entity": ENTITY, "project": "p", "name": "bert", "description": "d", "tags": ["a b"]}
        row = yard.write(artifacts.create, type_="model", **wanted)
        assert (row.description, row.tags, row.next_version) == ("d", ["a b"], 0)
        with pytest.raises(errors.AlreadyExists):
            yard.write(artifacts.create, type_="model", **wanted)
        with pytest.raises(errors.AlreadyExists):
            yard.write(registered_models.create, type_="model", **wanted)

    def test_deleting_needs_a_word_while_aliases_or_links_stand(self, yard: Yard) -> None:
        yard.log("bert", "a")
        with pytest.raises(errors.VersionHasAliases) as aliased:
            yard.delete("bert:v0")
        assert aliased.value.metadata["aliases"] == "latest"
        yard.log("bert", "b")
        yard.link("bert:v0", "Churn", ["production"])
        with pytest.raises(errors.VersionLinked) as linked:
            yard.delete("bert:v0")
        assert f"{ENTITY}/{MODEL}:v0" in str(linked.value)
        yard.delete("bert:v0", delete_aliases=True)
        for ref in ("bert:v0", f"{MODEL}:production", MODEL):
            with pytest.raises(errors.NotFound):
                yard.number(ref)
        assert [e.details["linked"] for e in yard.events("p", "unlinked")] == [f"{ENTITY}/{MODEL}:v0"]
        assert [e.details["linked"] for e in yard.events("model-registry", "unlinked")] == [
            f"{ENTITY}/p/bert:v0"
        ]
        gone = [e.details["alias"] for e in yard.events("model-registry", "alias_removed")]
        assert gone == ["latest", "production"]

    def test_latest_goes_to_the_newest_version_that_remains(self, yard: Yard) -> None:
        for text in "abc":
            yard.log("bert", text)
        yard.delete("bert:v2", delete_aliases=True)
        assert yard.number("bert") == 1
        moved = yard.events("p", "alias_added")[-1].details
        assert (moved["version"], moved["previous_version"]) == ("v1", "v2")
        assert yard.log("bert", "c").number == 3
        yard.delete("bert:v1")
        assert yard.number("bert") == 3

    def test_a_deleted_version_leaves_a_tombstone_without_files(self, yard: Yard) -> None:
        version = yard.log("bert", "a")
        yard.delete("bert:v0", delete_aliases=True)

        def left(session: Session, _: Principal) -> tuple[bool, int]:
            row = session.get_one(ArtifactVersion, version.id)
            query = select(func.count()).select_from(VersionFile).where(VersionFile.version_id == version.id)
            return row.deleted_at is not None, session.scalars(query).one()

        assert yard.read(left) == (True, 0)
        with pytest.raises(errors.NotFound):
            yard.read(versions.get, version.id)
        with pytest.raises(errors.NotFound):
            yard.number("bert")

    def test_links_have_numbers_and_aliases_of_their_own(self, yard: Yard) -> None:
        yard.log("bert", "a")
        yard.log("bert", "b")
        assert yard.link("bert:v1", "Churn", ["staging"]).number == 0
        assert yard.link("bert:v0", "Churn").number == 1
        assert (yard.number(f"{MODEL}:staging"), yard.number(MODEL)) == (1, 0)
        with pytest.raises(errors.NotFound):
            yard.number("bert:staging")
        resolved = yard.read(versions.resolve, f"{ENTITY}/{MODEL}:staging")
        assert resolved.through_link == f"{ENTITY}/{MODEL}:v0"
        view = yard.read(lambda s, p: versions.describe(s, [resolved.version])[0])
        assert [link.ref for link in view.linked_to] == [f"{ENTITY}/{MODEL}:v0"]
        assert view.aliases == ["latest"]

    def test_linking_again_keeps_the_number_and_moves_latest(self, yard: Yard) -> None:
        yard.log("bert", "a")
        yard.log("bert", "b")
        first = yard.link("bert:v0", "Churn")
        yard.link("bert:v1", "Churn")
        again = yard.link("bert:v0", "Churn", ["gold"])
        assert (again.id, again.number) == (first.id, 0)
        assert (yard.number(MODEL), yard.number(f"{MODEL}:gold")) == (0, 0)
        assert len(yard.events("model-registry", "linked")) == 2

    def test_unlinking_gives_latest_to_the_last_link_call_that_remains(self, yard: Yard) -> None:
        for text in "abc":
            yard.log("bert", text)
        for ref in ("bert:v0", "bert:v1", "bert:v2", "bert:v0", "bert:v1"):
            yard.link(ref, "Churn")
        yard.unlink(f"{MODEL}:v1")
        assert yard.number(MODEL) == 0  # linked again after v2
        yard.unlink(f"{MODEL}:v0")
        assert yard.number(MODEL) == 2
        assert yard.link("bert:v0", "Churn").number == 3
        assert yard.number("bert:v0") == 0

    def test_linking_a_link_links_its_source(self, yard: Yard) -> None:
        version = yard.log("bert", "a")
        yard.link("bert", "Churn")
        assert yard.link(f"{MODEL}:latest", "wandb-registry-prod/Best model").version_id == version.id

    def test_a_registered_model_takes_one_type(self, yard: Yard) -> None:
        yard.log("corpus", "a", type="dataset")
        yard.log("bert", "a")
        yard.link("corpus", "Data")
        with pytest.raises(errors.TypeMismatch):
            yard.link("bert", "Data")
        with pytest.raises(errors.TypeMismatch):
            yard.link("bert", "p/corpus")
        yard.link("bert", "p/Other")
        with pytest.raises(errors.TypeMismatch):
            yard.log("Other", "x")

    def test_linking_clears_the_expiry(self, yard: Yard) -> None:
        version = yard.log("bert", "a", ttl=10**12)
        assert version.expires_at is not None
        yard.link("bert", "Churn")
        assert yard.read(versions.get, version.id).expires_at is None
        with pytest.raises(errors.VersionLinked):
            yard.write(
                lambda s, p: versions.update(
                    s, p, versions.get(s, p, version.id), expires_at=1 << 60, set_expiry=True
                )
            )

    @pytest.mark.parametrize("target", ["", "a/b/c/d", "Churn:v1", "Churn:production", " Churn", "a//b"])
    def test_a_target_outside_the_grammar_names_its_field(self, yard: Yard, target: str) -> None:
        yard.log("bert", "a")
        with pytest.raises(errors.InvalidField) as caught:
            yard.link("bert", target)
        assert caught.value.violations[0][0] == "target"

    def test_a_deleted_registered_model_counts_on_and_leaves_the_versions(self, yard: Yard) -> None:
        yard.log("bert", "a")
        yard.link("bert", "Churn", ["production"])
        yard.write(
            lambda s, p: deletes.delete_model(s, p, collections.find(s, p, "model", ref=f"{ENTITY}/{MODEL}"))
        )
        with pytest.raises(errors.NotFound):
            yard.number(f"{MODEL}:production")
        assert yard.number("bert") == 0
        assert yard.link("bert", "Churn").number == 1

    def test_renaming_refuses_a_taken_name_and_moves_the_links(self, yard: Yard) -> None:
        yard.log("bert", "a")
        yard.link("bert", "Churn")
        yard.link("bert", "Other")

        def rename(session: Session, principal: Principal, name: str) -> None:
            row = collections.lock(
                session, collections.find(session, principal, "model", ref=f"{ENTITY}/{MODEL}")
            )
            collections.change(session, principal, row, name=name, prefix="registered_model.")

        with pytest.raises(errors.AlreadyExists):
            yard.write(rename, "Other")
        yard.write(rename, "Churn 2")
        assert yard.number("model-registry/Churn 2") == 0
        with pytest.raises(errors.NotFound):
            yard.number(MODEL)

    def test_aliases_change_together_or_not_at_all(self, yard: Yard) -> None:
        yard.log("bert", "a")
        yard.log("bert", "b")
        assert yard.move("bert", Change("staging", "v0", None), Change("production", "v1", "")) == {
            "latest": 1,
            "production": 1,
            "staging": 0,
        }
        with pytest.raises(errors.AliasChanged) as caught:
            yard.move("bert", Change("staging", "", None), Change("production", "v0", "v0"))
        assert caught.value.metadata["alias"] == "production"
        assert caught.value.metadata["version"] == "v1"
        with pytest.raises(errors.NotFound):
            yard.move("bert", Change("staging", "", None), Change("production", "v9", None))
        assert yard.move("bert", Change("production", "v0", "v1"), Change("staging", "", "v0")) == {
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
        self, yard: Yard, changes: list[Change], field: str
    ) -> None:
        yard.log("bert", "a")
        with pytest.raises(errors.InvalidField) as caught:
            yard.move("bert", *changes)
        assert caught.value.violations[0][0] == field


class TestRegistryOnSqlite(RegistryContract):
    @pytest.fixture
    def yard(self, tmp_path: Path) -> Iterator[Yard]:
        with sqlite_database(tmp_path) as database:
            yield Yard(database)


class TestRegistryOnPostgresql(RegistryContract):
    @pytest.fixture
    def yard(self, postgres_database: str) -> Iterator[Yard]:
        with postgresql_database(postgres_database) as database:
            yield Yard(database)
