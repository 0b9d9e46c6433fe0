"""Requests for lists, page by page: one function for each kind.

`condition` is a filter and `order` an ordering, as in the RPC; `page_size` is 1 to
1000.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelyard.contract.limits import PAGE_ITEMS
from modelyard.rpc import messages, records
from modelyard.rpc.connection import Connection
from modelyard.v1 import model_artifact_pb2 as artifact_pb
from modelyard.v1 import registered_model_pb2 as model_pb
from modelyard.v1 import run_console_pb2 as console_pb
from modelyard.v1 import run_pb2 as run_pb

PAGE_SIZE = 200


def artifacts(
    connection: Connection,
    entity: str,
    project: str,
    condition: str = "",
    order: str = "",
    page_size: int = PAGE_SIZE,
) -> Iterator[records.Collection]:
    """The artifacts of a project, by name unless `order` says otherwise; without one of every project."""
    request = artifact_pb.ListModelArtifactsRequest(
        entity=entity, project=project, page_size=page_size, filter=condition, order_by=order
    )
    for page in pages(connection.artifacts.ListModelArtifacts, request):
        yield from map(messages.collection, page.model_artifacts)


def registered_models(
    connection: Connection,
    entity: str,
    project: str,
    condition: str = "",
    order: str = "",
    page_size: int = PAGE_SIZE,
) -> Iterator[records.Collection]:
    """The registered models of a registry, by name unless `order` says otherwise; without one of all."""
    request = model_pb.ListRegisteredModelsRequest(
        entity=entity, project=project, page_size=page_size, filter=condition, order_by=order
    )
    for page in pages(connection.registry.ListRegisteredModels, request):
        yield from map(messages.collection, page.registered_models)


def versions(
    connection: Connection,
    artifact_id: str = "",
    condition: str = "",
    order: str = "",
    page_size: int = PAGE_SIZE,
    *,
    entity: str = "",
    project: str = "",
) -> Iterator[records.Version]:
    """The versions of an artifact, without one those of a project or an entity; newest first."""
    request = artifact_pb.ListModelArtifactVersionsRequest(
        entity=entity,
        project=project,
        page_size=page_size,
        filter=condition,
        order_by=order,
    )
    if artifact_id:
        request.id = artifact_id
    for page in pages(connection.artifacts.ListModelArtifactVersions, request):
        yield from map(messages.version, page.versions)


def links(
    connection: Connection,
    model_id: str = "",
    condition: str = "",
    order: str = "",
    page_size: int = PAGE_SIZE,
    *,
    entity: str = "",
    project: str = "",
) -> Iterator[records.Link]:
    """The links of a registered model, without one those of a registry or an entity; newest first."""
    request = model_pb.ListRegisteredModelVersionsRequest(
        entity=entity,
        project=project,
        page_size=page_size,
        filter=condition,
        order_by=order,
    )
    if model_id:
        request.id = model_id
    for page in pages(connection.registry.ListRegisteredModelVersions, request):
        yield from map(messages.link, page.versions)


def runs(
    connection: Connection,
    entity: str,
    project: str,
    condition: str = "",
    order: str = "",
    page_size: int = PAGE_SIZE,
) -> Iterator[records.RunRecord]:
    """The runs of a project, newest first unless `order` says otherwise; without one of every project."""
    request = run_pb.ListRunsRequest(
        entity=entity, project=project, page_size=page_size, filter=condition, order_by=order
    )
    for page in pages(connection.runs.ListRuns, request):
        yield from map(messages.run, page.runs)


def count_runs(connection: Connection, entity: str, project: str, condition: str = "") -> int | None:
    """How many runs match; None if the server does not count them."""
    request = run_pb.ListRunsRequest(
        entity=entity, project=project, page_size=1, filter=condition, count_total=True
    )
    request.read_mask.paths.append("state")
    reply = connection.runs.ListRuns(request)
    return reply.total_size if reply.HasField("total_size") else None


def run_attempts(connection: Connection, run_id: str) -> Iterator[records.RunRecord]:
    """The attempts of a run, latest first."""
    request = run_pb.ListRunAttemptsRequest(id=run_id, page_size=PAGE_SIZE)
    for page in pages(connection.runs.ListRunAttempts, request):
        yield from map(messages.run, page.runs)


def console_lines(
    connection: Connection, run_id: str, attempt: int, text: str = "", last: int | None = None
) -> Iterator[records.ConsoleLine]:
    """The lines of a run's console that contain `text`, oldest first; with `last` only so many of the end."""
    size = PAGE_SIZE if last is None else min(last, PAGE_ITEMS)
    request = console_pb.ListConsoleLinesRequest(
        run_id=run_id, attempt=attempt, text=text, from_end=last is not None, page_size=size
    )
    if last is None:
        for page in pages(connection.consoles.ListConsoleLines, request):
            yield from map(messages.console_line, page.lines)
        return
    found: list[records.ConsoleLine] = []
    for page in pages(connection.consoles.ListConsoleLines, request):
        found[:0] = map(messages.console_line, page.lines)
        if len(found) >= last:
            break
    yield from found[max(0, len(found) - last) :]


def pages(call: Any, request: Any) -> Iterator[Any]:
    """The replies of a listing, until the last page."""
    while True:
        page = call(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
