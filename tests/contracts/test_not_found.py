"""The error for a reference that is not found: which part is missing, and which names are close."""

from __future__ import annotations

import pytest

from modelyard import errors
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.owner_not_found import NEIGHBOURS
from modelyard_server.domain.registry import deletes, resolve, versions
from tests.inprocess.registry import ENTITY, LATER, Registry, full, somebody


def _why(registry: Registry, ref: str) -> tuple[str, str]:
    """The part that is absent, and the sentence behind `was not found`."""
    with pytest.raises(errors.NotFound) as caught:
        registry.read(resolve.version, ref=full(ref))
    sentence = str(caught.value).partition(" was not found")[2].removeprefix(": ")
    return caught.value.metadata.get("missing", ""), sentence


class TestNotFound:
    @pytest.mark.parametrize(
        ("ref", "part", "sentence"),
        [
            ("acmee/p/bert", "entity", "there is no entity 'acmee'; did you mean 'acme'?"),
            ("fraudd/bert", "project", "there is no project 'fraudd' in acme; did you mean 'fraud'?"),
            (
                "p/BRET:best",
                "name",
                "there is no artifact or registered model 'BRET' in acme/p; did you mean 'bert'?",
            ),
            ("bert:bset", "version", "'bert' has no alias 'bset'; did you mean 'best'?"),
            ("bert:production", "version", "'bert' has no alias 'production'; there is 'best' and 'latest'"),
            ("bert:lat", "version", "'bert' has no alias 'lat'; did you mean 'latest'?"),
            ("bert:v7", "version", "'bert' has no v7; its newest version is v2"),
            ("bert:v1", "version", "v1 of 'bert' was deleted or has expired"),
            ("fraud/gone", "name", "there is no artifact or registered model 'gone' in acme/fraud any more"),
        ],
    )
    def test_the_part_that_is_absent_is_named(
        self, registry: Registry, ref: str, part: str, sentence: str
    ) -> None:
        for text in "abc":
            registry.log("bert", text, names=["best"])
        registry.delete("bert:v1")
        registry.log("gone", "a", project="fraud")
        row = registry.collection("fraud/gone")
        registry.write(lambda s, p: deletes.delete_artifact(s, p, s.merge(row), force=True))
        assert _why(registry, ref) == (part, sentence)

    def test_at_most_three_close_names_are_suggested(self, registry: Registry) -> None:
        for number in range(6):
            registry.log(f"model-{number}", "a")
        part, sentence = _why(registry, "model-x")
        assert part == "name"
        assert sentence.count("model-") == 1 + 3
        assert _why(registry, "zebra") == (
            "name",
            "there is no artifact or registered model 'zebra' in acme/p",
        )

    def test_a_close_name_is_found_among_very_many_names(self, registry: Registry) -> None:
        for number in range(NEIGHBOURS + 20):
            registry.log(f"a{number:03}", "a")
        registry.log("reader-large", "a")
        registry.log("zz", "a")
        assert "did you mean 'reader-large'?" in _why(registry, "reader-larg")[1]

    def test_names_of_the_other_kind_are_considered_and_not_suggested(self, registry: Registry) -> None:
        registry.log("m", "a")
        for number in range(NEIGHBOURS):
            registry.link("m", f"p/Net {number:03}")
        sentence = "there is no artifact or registered model 'Net 0xx' in acme/p"
        assert _why(registry, "Net 0xx")[1].startswith(f"{sentence}; did you mean 'Net 0")
        with pytest.raises(errors.NotFound) as caught:
            registry.read(resolve.collection, "artifact", ref=full("Net"))
        # `m` is the only artifact, but too far behind all the registered models to be known as that.
        assert caught.value.metadata["why"] == "there is no model artifact 'Net' in acme/p"

    def test_the_newest_of_many_deleted_versions_are_considered(self, registry: Registry) -> None:
        registry.log("bert", "kept")
        for number in range(NEIGHBOURS - 1):
            registry.log("bert", str(number))
            registry.delete(f"bert:v{number + 1}", force=True)
        assert _why(registry, "bert:v77")[1] == "'bert' has no v77; its newest version is v0"
        registry.log("bert", "last")
        registry.delete(f"bert:v{NEIGHBOURS}", force=True)
        assert _why(registry, "bert:v77")[1] == "the newest versions of 'bert' were deleted or have expired"

    def test_a_ref_to_the_other_kind_of_collection_is_explained(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.link("bert", "model-registry/Churn")
        with pytest.raises(errors.NotFound, match="'bert' in acme/p is a model artifact"):
            registry.read(resolve.link, ref="acme/p/bert")
        with pytest.raises(errors.NotFound, match="'Churn' in acme/model-registry is a registered model"):
            registry.read(resolve.collection, "artifact", ref="acme/model-registry/Churn")
        with pytest.raises(errors.NotFound, match="did you mean 'Churn'"):
            registry.read(resolve.collection, "model", ref="acme/model-registry/Churm")
        with pytest.raises(errors.NotFound, match="'Churn' has no alias 'prod'; there is 'latest'"):
            registry.read(resolve.link, ref="acme/model-registry/Churn:prod")

    def test_an_expired_version_is_reported_as_expired(self, registry: Registry) -> None:
        version = registry.log("bert", "a")
        registry.write(
            lambda s, p: versions.update(s, p, s.merge(version), expires_at=LATER, set_expiry=True)
        )
        registry.pass_time()
        assert _why(registry, "bert") == (
            "version",
            "its version has expired, or you may not read it",
        )
        assert _why(registry, "bert:v0") == ("version", "v0 of 'bert' was deleted or has expired")

    def test_errors_reveal_nothing_about_entities_of_others(self, registry: Registry) -> None:
        registry.log("bert", "a")
        registry.link("bert", "evil/model-registry/Churn")
        eve = Registry(registry.database, somebody("eve", "evil"))
        there, nowhere = _why(eve, f"{ENTITY}/p/bert"), _why(eve, "nobody/p/bert")
        assert there == ("entity", "there is no entity 'acme' that you may read")
        assert nowhere == ("entity", there[1].replace(ENTITY, "nobody"))
        for ref in (f"{ENTITY}/p/bret", f"{ENTITY}/q/bert", f"{ENTITY}/p/bert:bset", f"{ENTITY}/p/bert:v9"):
            assert _why(eve, ref) == there
        assert _why(eve, "evil/model-registry/Churn") == (
            "version",
            "its version has expired, or you may not read it",
        )
        with pytest.raises(errors.NotFound) as caught:
            eve.read(owners.find_project, ENTITY, "p")
        assert caught.value.metadata["missing"] == "entity"

    def test_a_caller_without_an_existing_entity_is_shown_no_names(self, registry: Registry) -> None:
        registry.log("bert", "a")
        new = Registry(registry.database, somebody("ann", "acm"))
        assert _why(new, "acm/p/bert") == ("entity", "nothing was logged to acm yet")
