"""Asks the server for lineage graphs, and for the versions and runs next to a node."""

from __future__ import annotations

from modelyard.contract import errors
from modelyard.contract.limits import LINEAGE_DEPTH
from modelyard.query.lineage import Lineage, LineageEdge, LineageRun, LineageVersion
from modelyard.rpc import messages, records, run_calls, version_calls
from modelyard.rpc.connection import Connection
from modelyard.v1 import model_artifact_pb2 as pb

DIRECTIONS = ("upstream", "downstream", "both")


def around(
    connection: Connection,
    *,
    version_id: str = "",
    run_id: str = "",
    depth: int = 2,
    direction: str = "both",
) -> Lineage:
    """The graph around a version or a run. Errors: ValueError, NotFound."""
    if direction not in DIRECTIONS:
        raise ValueError(f"direction is one of {', '.join(DIRECTIONS)}, not {direction!r}")
    if not 1 <= depth <= LINEAGE_DEPTH:
        raise ValueError(f"depth is 1 to {LINEAGE_DEPTH} steps, not {depth}")
    request = pb.GetLineageRequest(
        depth=depth,
        direction=pb.LineageDirection.Value(f"LINEAGE_DIRECTION_{direction.upper()}"),
    )
    if run_id:
        request.run_id = run_id
    else:
        request.id = version_id
    reply = connection.artifacts.GetLineage(request)
    return Lineage(
        start=version_id or run_id,
        runs=tuple(
            LineageRun(run.id, run.ref, run.display_name, messages.run_state(run.state), run.deleted)
            for run in reply.runs
        ),
        versions=tuple(
            LineageVersion(each.id, each.ref, each.type, each.deleted, tuple(to.ref for to in each.linked_to))
            for each in reply.versions
        ),
        edges=tuple(
            LineageEdge(edge.run_id, edge.version_id, _relation(edge.relation), edge.use_as)
            for edge in reply.edges
        ),
        truncated=reply.truncated,
    )


def runs_using(connection: Connection, version_id: str) -> list[records.RunRecord]:
    """The runs that used a version and are not deleted, ordered by path."""
    graph = around(connection, version_id=version_id, depth=1, direction="downstream")
    found = []
    for run in sorted(graph.runs, key=lambda run: run.path):
        try:
            found.append(run_calls.run_by_id(connection, run.id))
        except errors.NotFound:  # deleted before or after the graph was read
            continue
    return found


def versions_of_run(connection: Connection, run_id: str, direction: str) -> list[records.Version]:
    """The versions that a run made (`downstream`) or used (`upstream`), without deleted ones, by ref."""
    graph = around(connection, run_id=run_id, depth=1, direction=direction)
    ids = [each.id for each in sorted(graph.versions, key=lambda each: each.ref) if not each.deleted]
    return version_calls.versions_by_id(connection, ids)


def _relation(number: int) -> str:
    return {1: "output", 2: "input"}.get(number, "unknown")
