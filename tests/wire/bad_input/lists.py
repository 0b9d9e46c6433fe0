"""Bad filters, orders, page sizes and page tokens of every list, and request ids of every write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from tests.wire.bad_input.cases import Case, Request, of_values
from tests.wire.bad_input.values import CHARACTERS, FILTERS, ORDERS, PAGE_SIZES, SOME_NAMES, TOKENS, TOO_LONG

LISTS: Mapping[str, Request] = {
    "AliasService/ListAliasChanges": {"id": "$artifact"},
    "EventService/ListEvents": {"project": "$project"},
    "MetricService/ListMetricKeys": {"run_id": "$run"},
    "ModelArtifactService/ListModelArtifactFiles": {"id": "$version"},
    "ModelArtifactService/ListModelArtifactTypes": {"project": "$project"},
    "ModelArtifactService/ListModelArtifactVersions": {"project": "$project"},
    "ModelArtifactService/ListModelArtifacts": {"project": "$project"},
    "ProjectService/ListPrincipals": {},
    "ProjectService/ListProjects": {},
    "RegisteredModelService/ListRegisteredModelVersions": {"id": "$model"},
    "RegisteredModelService/ListRegisteredModels": {},
    "RegisteredModelService/ListRegistries": {},
    "RunConsoleService/ListConsoleLines": {"run_id": "$run"},
    "RunFileService/ListRunFiles": {"run_id": "$run"},
    "RunService/ListRunAttempts": {"id": "$run"},
    "RunService/ListRuns": {"project": "$project"},
}
FILTERED = (
    "EventService/ListEvents",
    "ModelArtifactService/ListModelArtifactVersions",
    "ModelArtifactService/ListModelArtifacts",
    "ProjectService/ListProjects",
    "RegisteredModelService/ListRegisteredModelVersions",
    "RegisteredModelService/ListRegisteredModels",
    "RunService/ListRuns",
)
ORDERED = tuple(method for method in FILTERED if "Event" not in method)
SOME_TOKENS = {kind: TOKENS[kind] for kind in ("a word", "beyond ASCII", "a wrong hash")}
SOME_FILTERS = {kind: FILTERS[kind] for kind in ("U+0000", "an unknown field", "SQL", "an open text")}
OF_PROJECTS = (
    "EventService/ListEvents",
    "ModelArtifactService/ListModelArtifactTypes",
    "ModelArtifactService/ListModelArtifactVersions",
    "ModelArtifactService/ListModelArtifacts",
    "RegisteredModelService/ListRegisteredModels",
    "RunService/ListRuns",
)


def lists() -> Iterator[Case]:
    """What every list has."""
    for method, base in LISTS.items():
        yield from of_values(method, "page_size", PAGE_SIZES, base=base)
        tokens = TOKENS if method == "RunService/ListRuns" else SOME_TOKENS
        yield from of_values(method, "page_token", tokens, base=base, reason="INVALID_PAGE_TOKEN")
    for method in FILTERED:
        filters = FILTERS if method == "RunService/ListRuns" else SOME_FILTERS
        yield from of_values(method, "filter", filters, base=LISTS[method], reason="INVALID_FILTER")
    for method in ORDERED:
        yield from of_values(method, "order_by", ORDERS, base=LISTS[method])
    for method in OF_PROJECTS:
        for field in ("project", "entity"):
            base = {"project": "p"}
            yield from of_values(method, field, SOME_NAMES, base=base, reason="NOT_FOUND", named="")


def events() -> Iterator[Case]:
    """Positions of events."""
    base, watch = {"project": "$project"}, "EventService/WatchEvents"
    yield from of_values("EventService/ListEvents", "after_sequence", {"negative": -1}, base=base)
    wrong = {"negative": -1, "beyond the last": 10**9}
    yield from of_values(watch, "after_sequence", wrong, base=base)
    for field in ("project", "entity"):
        yield from of_values(watch, field, SOME_NAMES, base={"project": "p"})
    yield from of_values("ProjectService/GetProject", "name", SOME_NAMES, reason="NOT_FOUND", named="")
    yield from of_values(watch, "filter", SOME_FILTERS, base={"project": "$project"}, reason="INVALID_FILTER")


def request_ids() -> Iterator[Case]:
    """Ids of writes that may be repeated."""
    writes = {
        "ModelArtifactService/CreateModelArtifact": {
            "model_artifact": {"project": "$project", "name": "fresh"}
        },
        "RunService/CreateRun": {"run": {"project": "$project"}},
        "AliasService/UpdateAliases": {"id": "$artifact", "updates": [{"alias": "a", "version": "v0"}]},
        "UploadService/CreateUpload": {"project": "$project"},
    }
    for method, base in writes.items():
        yield from of_values(method, "request_id", {**TOO_LONG, **CHARACTERS}, base=base)
    other = {"run": {"project": "$project", "notes": "of another request"}, "request_id": "$request_id"}
    create = "RunService/CreateRun"
    yield Case(f"{create} a request id of another request", create, (other,), "REQUEST_ID_REUSED", "")


CASES = list(itertools.chain(lists(), events(), request_ids()))
