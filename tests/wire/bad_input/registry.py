"""Bad names, refs, aliases, masks and times of artifacts, registered models, versions and projects."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.wire.bad_input.cases import Case, of_values
from tests.wire.bad_input.values import (
    ALIASES,
    CHARACTERS,
    DOTS,
    IDS,
    NAMES,
    SOME_NAMES,
    TAGS,
    TIMES,
    TOO_LONG,
    VALUES,
    nested,
)

ARTIFACTS, MODELS = "ModelArtifactService", "RegisteredModelService"
ALIAS = "AliasService/UpdateAliases"
LINK = f"{MODELS}/LinkModelArtifactVersion"

REFS = {
    "four parts": "a/b/c/d",
    "no name": "a/b/",
    "no project": "a//c",
    "no alias": "a/b/c:",
    "two colons": "c:a:b",
    "U+0000": "a\0b",
    "a line break": "a\nb",
    "a right-to-left override": "a\u202eb",
    "climbs": "../c",
    "percent-encoded": "a%2Fb",
    "a version with zeros": "c:v007",
    "a version too large": "c:v" + "9" * 19,
    "too long": "x" * 5000,
}
SOME_REFS = {kind: REFS[kind] for kind in ("four parts", "no alias", "U+0000", "climbs")}
UNKNOWN_ID = "0190a8e0-0000-7000-8000-000000000000"


def names() -> Iterator[Case]:
    """Names and texts of what is created."""
    create = f"{ARTIFACTS}/CreateModelArtifact"
    base = {"model_artifact": {"project": "$project", "name": "fresh", "type": "model"}}
    for field in ("name", "type", "project", "entity"):
        yield from of_values(create, f"model_artifact.{field}", NAMES, base=base)
    yield from of_values(create, "model_artifact.name", {"empty": ""}, base=base)
    yield from of_values(create, "model_artifact.tags[0]", TAGS, base=base)
    texts = {"65,537 bytes": "x" * 65_537, "U+0000": "\0"}
    yield from of_values(create, "model_artifact.description", texts, base=base)
    create = f"{MODELS}/CreateRegisteredModel"
    base = {"registered_model": {"name": "fresh"}}
    yield from of_values(create, "registered_model.name", NAMES, base=base)
    for field in ("type", "project", "entity"):
        yield from of_values(create, f"registered_model.{field}", SOME_NAMES, base=base)
    yield from of_values(create, "registered_model.name", {"empty": ""}, base=base)
    yield from of_values(create, "registered_model.tags[0]", TAGS, base=base)
    yield from of_values(create, "registered_model.description", texts, base=base)
    for field in ("name", "entity"):
        base = {"project": {"name": "fresh"}}
        yield from of_values("ProjectService/CreateProject", f"project.{field}", SOME_NAMES, base=base)
    yield from of_values("ProjectService/CreateProject", "project.name", {"empty": ""})
    taken = {"registered_model": {"project": "$project", "name": "bert"}}
    yield Case(f"{create} a name that an artifact has", create, (taken,), "ALREADY_EXISTS", "")
    for method in ("ListProjects", "ListPrincipals"):
        yield from of_values(f"ProjectService/{method}", "entity", SOME_NAMES, reason="NOT_FOUND", named="")


def refs() -> Iterator[Case]:
    """Refs and ids, by each method that takes one of both."""
    of_artifact = ("GetModelArtifact", "ListModelArtifactVersions")
    of_version = (
        "GetModelArtifactVersion",
        "ListModelArtifactFiles",
        "DownloadFile",
        "HashModelArtifactFiles",
        "GetLineage",
    )
    methods = [f"{ARTIFACTS}/{name}" for name in of_artifact + of_version]
    methods += [
        f"{MODELS}/{name}"
        for name in ("GetRegisteredModel", "GetRegisteredModelVersion", "ListRegisteredModelVersions")
    ]
    methods += ["AliasService/ListAliasChanges"]
    yield from of_values(f"{ARTIFACTS}/GetModelArtifactVersion", "ref", REFS)
    for method in methods:
        yield from of_values(method, "ref", SOME_REFS)
        yield from of_values(method, "id", {**IDS, "empty": ""})
    base = {"updates": [{"alias": "a", "version": "v0"}]}
    yield from of_values(ALIAS, "ref", SOME_REFS, base=base)
    yield from of_values(ALIAS, "id", IDS, base=base)
    yield from of_values(LINK, "ref", SOME_REFS, base={"target_ref": "m"})
    yield from of_values(LINK, "id", IDS, base={"target_ref": "m"})
    yield from of_values(LINK, "target_ref", {**REFS, "an alias": "m:best"}, base={"id": "$version"})
    yield from of_values(LINK, "target_id", IDS, base={"id": "$version"})
    yield Case(f"{LINK} without target", LINK, ({"id": "$version"},), "INVALID_FIELD", "target_ref")
    yield Case(f"{LINK} without source", LINK, ({"target_ref": "m"},), "INVALID_FIELD", "id")
    use = f"{ARTIFACTS}/UseModelArtifactVersion"
    yield from of_values(use, "ref", SOME_REFS, base={"run_id": "$run"})
    yield from of_values(use, "run_id", {**IDS, "empty": ""}, base={"id": "$version"})
    yield from of_values(
        use, "use_as", {"too long": "x" * 129, **CHARACTERS}, base={"run_id": "$run", "id": "$version"}
    )
    batch = f"{ARTIFACTS}/BatchGetModelArtifactVersions"
    yield from of_values(batch, "requests[0].ref", SOME_REFS)
    yield from of_values(batch, "requests[0].id", IDS)
    for method in ("DeleteModelArtifact", "DeleteModelArtifactVersion"):
        yield from of_values(f"{ARTIFACTS}/{method}", "id", {**IDS, "empty": ""})
    for method in ("DeleteRegisteredModel", "DeleteRegisteredModelVersion"):
        yield from of_values(f"{MODELS}/{method}", "id", {**IDS, "empty": ""})


def aliases() -> Iterator[Case]:
    """Aliases, and the versions they are moved from and to."""
    base = {"id": "$artifact", "updates": [{"alias": "a", "version": "v0"}]}
    yield from of_values(ALIAS, "updates[0].alias", ALIASES, base=base)
    removed = {"id": "$artifact", "updates": [{"remove": True}]}
    yield from of_values(ALIAS, "updates[0].alias", ALIASES, base=removed)
    versions = {
        "empty": "",
        "a number": "0",
        "an alias": "latest",
        "zeros": "v00",
        "negative": "v-1",
        "too large": "v" + "9" * 19,
    }
    yield from of_values(ALIAS, "updates[0].version", versions, base=base)
    yield from of_values(
        ALIAS, "updates[0].version", {"unknown": "v7"}, base=base, reason="NOT_FOUND", named=""
    )
    wrong = {kind: text for kind, text in versions.items() if text}
    yield from of_values(ALIAS, "updates[0].expected_version", wrong, base=base)
    yield Case(f"{ALIAS} without updates", ALIAS, ({"id": "$artifact"},), "INVALID_FIELD", "updates")
    none = {"id": "$artifact", "updates": [{"alias": "a"}]}
    yield Case(f"{ALIAS} without change", ALIAS, (none,), "INVALID_FIELD", "updates[0].change")
    false = {"id": "$artifact", "updates": [{"alias": "a", "remove": False}]}
    yield Case(f"{ALIAS} remove of false", ALIAS, (false,), "INVALID_FIELD", "updates[0].remove")
    twice = {"id": "$artifact", "updates": [{"alias": "a", "version": "v0"}] * 2}
    yield Case(f"{ALIAS} twice", ALIAS, (twice,), "INVALID_FIELD", "updates[1].alias")
    yield from of_values(LINK, "aliases[0]", ALIASES, base={"id": "$version", "target_ref": "$model_ref"})
    changes = "AliasService/ListAliasChanges"
    yield from of_values(changes, "alias", {**TOO_LONG, **CHARACTERS, **DOTS}, base={"id": "$artifact"})
    yield from of_values(changes, "at_time", TIMES, base={"id": "$artifact"})


def updates() -> Iterator[Case]:
    """Masks and values of updates."""
    masks = {
        "empty": {},
        "an unknown field": {"paths": ["nothing"]},
        "a fixed field": {"paths": ["id"]},
        "SQL": {"paths": ["name; DROP TABLE run"]},
        "U+0000": {"paths": ["\0"]},
        "a part": {"paths": ["metadata.k"]},
    }
    version, artifact, model = (
        (f"{ARTIFACTS}/UpdateModelArtifactVersion", "version"),
        (f"{ARTIFACTS}/UpdateModelArtifact", "model_artifact"),
        (f"{MODELS}/UpdateRegisteredModel", "registered_model"),
    )
    for method, noun in (version, artifact, model):
        scene = {"version": "$version", "model_artifact": "$artifact", "registered_model": "$model"}[noun]
        base = {noun: {"id": scene}}
        yield from of_values(method, "update_mask", masks, base=base, reason="INVALID_MASK")
        of_tags = {**base, "update_mask": {"paths": ["tags"]}}
        yield from of_values(method, f"{noun}.tags[0]", TAGS, base=of_tags)
        of_text = {**base, "update_mask": {"paths": ["description"]}}
        yield from of_values(
            method, f"{noun}.description", {"65,537 bytes": "x" * 65_537, "U+0000": "\0"}, base=of_text
        )
        yield from of_values(method, f"{noun}.id", IDS, base={"update_mask": {"paths": ["tags"]}})
    method = version[0]
    base = {"version": {"id": "$version"}, "update_mask": {"paths": ["metadata"]}}
    for kind, value in VALUES.items():
        place = "version.metadata.k" + "[0]" * 20 * (kind == "21 levels")
        yield from of_values(method, "version.metadata", {kind: {"k": value}}, base=base, named=place)
    deep = {"20 levels below the map": {"k": nested(20)}}
    yield from of_values(method, "version.metadata", deep, base=base, named="version.metadata.k" + "[0]" * 19)
    single = {"version": {"id": "$version", "metadata": {"k": {"int_value": 1}}}}
    yield from of_values(method, "metadata_keys", {"an empty key": [""]}, base=single)
    yield from of_values(
        method,
        "metadata_keys",
        {"with the whole map": ["k"]},
        base={**single, "update_mask": {"paths": ["metadata"]}},
    )
    times = {"version": {"id": "$version"}, "update_mask": {"paths": ["expire_time"]}}
    yield from of_values(method, "version.expire_time", TIMES, base=times)
    rename = {"registered_model": {"id": "$model"}, "update_mask": {"paths": ["name"]}}
    yield from of_values(model[0], "registered_model.name", {**NAMES, "empty": ""}, base=rename)
    stale = {"version": {"id": "$version", "etag": "stale"}, "update_mask": {"paths": ["tags"]}}
    yield Case(f"{method} a stale etag", method, (stale,), "ETAG_MISMATCH", "")


def others() -> Iterator[Case]:
    """Directions, depths and unknown ids."""
    lineage = f"{ARTIFACTS}/GetLineage"
    yield from of_values(lineage, "direction", {"unknown": 99, "negative": -1}, base={"id": "$version"})
    yield from of_values(lineage, "depth", {"negative": -1, "too deep": 33}, base={"id": "$version"})
    yield from of_values(lineage, "run_id", IDS)
    for method in ("GetModelArtifact", "GetModelArtifactVersion", "GetLineage", "ListModelArtifactFiles"):
        yield from of_values(
            f"{ARTIFACTS}/{method}", "id", {"unknown": UNKNOWN_ID}, reason="NOT_FOUND", named=""
        )
    for method in ("GetRegisteredModel", "GetRegisteredModelVersion"):
        yield from of_values(
            f"{MODELS}/{method}", "id", {"unknown": UNKNOWN_ID}, reason="NOT_FOUND", named=""
        )
    linked = {"id": "$version"}
    delete = f"{ARTIFACTS}/DeleteModelArtifactVersion"
    yield Case(f"{delete} of a linked version", delete, (linked,), "VERSION_LINKED", "")


CASES = list(itertools.chain(names(), refs(), aliases(), updates(), others()))
