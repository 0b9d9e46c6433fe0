"""Lineage: run —output→ version —input→ run, as a graph that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelyard.contract import errors

if TYPE_CHECKING:
    from modelyard.configuration.settings import Settings
    from modelyard.rpc.connection import Connection
    from modelyard.runs.public_run import PublicRun

DIRECTIONS = ("upstream", "downstream", "both")
DEPTH_LIMIT = 32


@dataclass(frozen=True)
class LineageRun:
    """A run in a lineage: `path` is `entity/project/run_id`."""

    id: str
    path: str
    name: str
    state: str
    deleted: bool


@dataclass(frozen=True)
class LineageVersion:
    """A version in a lineage: `ref` is `entity/project/name:vN`, `linked_to` full references of its links."""

    id: str
    ref: str
    type: str
    deleted: bool
    linked_to: tuple[str, ...]


@dataclass(frozen=True)
class LineageEdge:
    """How a run and a version belong together: it made (`output`) or used (`input`) it, perhaps in a role."""

    run_id: str
    version_id: str
    relation: str
    use_as: str = ""


@dataclass(frozen=True)
class Lineage:
    """What lies around a run or a version, up to some steps; deleted ones are there too.

    `start` is the id of that run or version; `truncated` says that the graph
    was cut, at 10,000 nodes at most. `print(lineage)` draws it.
    """

    start: str
    runs: tuple[LineageRun, ...]
    versions: tuple[LineageVersion, ...]
    edges: tuple[LineageEdge, ...]
    truncated: bool = False

    @cached_property
    def nodes(self) -> dict[str, LineageRun | LineageVersion]:
        """Runs and versions by id."""
        found: dict[str, LineageRun | LineageVersion] = {run.id: run for run in self.runs}
        return found | {version.id: version for version in self.versions}

    @cached_property
    def _edges_of(self) -> dict[str, list[tuple[LineageEdge, str]]]:
        found: dict[str, list[tuple[LineageEdge, str]]] = {}
        for edge in self.edges:
            found.setdefault(edge.run_id, []).append((edge, edge.version_id))
            found.setdefault(edge.version_id, []).append((edge, edge.run_id))
        return found

    def around(self, node_id: str) -> list[tuple[LineageEdge, str]]:
        """The edges of a node, those towards where it comes from first, each with the other node's id."""
        upstream = "input" if isinstance(self.nodes[node_id], LineageRun) else "output"
        edges = self._edges_of.get(node_id, [])
        return sorted(edges, key=lambda pair: (pair[0].relation != upstream, self.label(pair[1])))

    def label(self, node_id: str) -> str:
        """Reference or path of a node."""
        node = self.nodes[node_id]
        return node.path if isinstance(node, LineageRun) else node.ref

    def __str__(self) -> str:
        from modelyard.registry.lineage_text import as_tree

        return as_tree(self)

    def to_dot(self) -> str:
        """The graph in the language of Graphviz."""
        from modelyard.registry.lineage_text import as_dot

        return as_dot(self)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        from modelyard.registry.lineage_text import as_mermaid

        return as_mermaid(self)

    def to_json(self) -> dict[str, Any]:
        """The graph as plain values."""
        return {
            "start": self.start,
            "runs": [vars(run) for run in self.runs],
            "versions": [
                {**vars(version), "linked_to": list(version.linked_to)} for version in self.versions
            ],
            "edges": [vars(edge) for edge in self.edges],
            "truncated": self.truncated,
        }


def around(
    connection: Connection,
    *,
    version_id: str = "",
    run_id: str = "",
    depth: int = 2,
    direction: str = "both",
) -> Lineage:
    """The graph around a version or a run. Errors: ValueError, NotFound."""
    from modelyard.rpc import messages
    from modelyard.v1 import model_artifact_pb2 as pb

    if direction not in DIRECTIONS:
        raise ValueError(f"direction is one of {', '.join(DIRECTIONS)}, not {direction!r}")
    if not 1 <= depth <= DEPTH_LIMIT:
        raise ValueError(f"depth is 1 to {DEPTH_LIMIT} steps, not {depth}")
    request = pb.GetLineageRequest(
        version_id=version_id,
        run_id=run_id,
        depth=depth,
        direction=pb.LineageDirection.Value(f"LINEAGE_DIRECTION_{direction.upper()}"),
    )
    reply = connection.artifacts.GetLineage(request)
    return Lineage(
        start=version_id or run_id,
        runs=tuple(
            LineageRun(run.id, run.path, run.display_name, messages.run_state(run.state), run.deleted)
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


def users(connection: Connection, settings: Settings, version_id: str) -> list[PublicRun]:
    """The runs that used a version and were not deleted, by path."""
    from modelyard.rpc import version_calls
    from modelyard.runs.public_run import PublicRun

    graph = around(connection, version_id=version_id, depth=1, direction="downstream")
    found = []
    for run in sorted(graph.runs, key=lambda run: run.path):
        try:
            found.append(PublicRun(connection, settings, version_calls.run_by_id(connection, run.id)))
        except errors.NotFound:  # deleted, then or since
            continue
    return found


def versions_of(connection: Connection, run_id: str, direction: str) -> Sequence[str]:
    """Ids of the versions that a run made (`downstream`) or used (`upstream`), by reference."""
    graph = around(connection, run_id=run_id, depth=1, direction=direction)
    return [each.id for each in sorted(graph.versions, key=lambda each: each.ref) if not each.deleted]


def _relation(number: int) -> str:
    return {1: "output", 2: "input"}.get(number, "unknown")
