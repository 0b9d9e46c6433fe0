"""Lineage: a graph of runs and the versions they made (`output`) and used (`input`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from sqlalchemy import bindparam, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelyard.contract import errors, refs
from modelyard.contract.limits import LINEAGE_DEPTH
from modelyard_server.db.engine import now
from modelyard_server.db.tables import ArtifactVersion, Collection, Entity, Lineage, Project, Run
from modelyard_server.db.upserts import batches, insert_missing
from modelyard_server.domain import fields
from modelyard_server.domain.access import owners
from modelyard_server.domain.access.authorize import Action, Resource, authorize
from modelyard_server.domain.access.principals import Principal
from modelyard_server.domain.registry import versions
from modelyard_server.domain.registry.versions import LinkedTo
from modelyard_server.domain.runs import runs

NODE_LIMIT = 10_000
NODE_BYTES = 2 << 20
EDGE_BYTES = 1 << 20
"""The approximate bytes of all nodes, and of all edges: a graph must fit a message."""
DEFAULT_DEPTH = 2

Direction: TypeAlias = Literal["upstream", "downstream", "both"]
# The relations to follow, from a run and from a version.
_FROM_RUN = {"upstream": ("input",), "downstream": ("output",), "both": ("input", "output")}
_FROM_VERSION = {"upstream": ("output",), "downstream": ("input",), "both": ("input", "output")}

# Without the run's config and summary, which may be large.
_PRODUCER = (
    select(Run.id, Run.deleted_at, Project.name.label("project"), Entity.name.label("entity"))
    .join(Project, Project.id == Run.project_id)
    .join(Entity, Entity.id == Project.entity_id)
    .where(Run.id == bindparam("run"))
)


class RunNode(NamedTuple):
    """A run in a lineage."""

    id: str
    path: str
    display_name: str
    state: str
    deleted: bool


class VersionNode(NamedTuple):
    """A version in a lineage."""

    id: str
    ref: str
    type: str
    deleted: bool
    linked_to: Sequence[LinkedTo]


class Edge(NamedTuple):
    """A run made (`output`) or used (`input`) a version."""

    run_id: str
    version_id: str
    relation: str
    use_as: str


@dataclass
class Graph:
    """The part of the lineage within some steps; `truncated` if it is too large and was cut."""

    runs: dict[str, RunNode] = field(default_factory=dict)
    versions: dict[str, VersionNode] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], Edge] = field(default_factory=dict)
    truncated: bool = False
    node_room: int = NODE_BYTES
    edge_room: int = EDGE_BYTES

    def add_run(self, node: RunNode) -> bool:
        """Adds a run; False if there is no room for it."""
        self.node_room -= 60 + _bytes(node.id, node.path, node.display_name)
        if self.node_room < 0 and self.runs:
            self.truncated = True
            return False
        self.runs[node.id] = node
        return True

    def add_version(self, node: VersionNode) -> bool:
        """Adds a version; False if there is no room for it."""
        linked = sum(10 + _bytes(*link) for link in node.linked_to)
        self.node_room -= 60 + _bytes(node.id, node.ref, node.type) + linked
        if self.node_room < 0 and self.versions:
            self.truncated = True
            return False
        self.versions[node.id] = node
        return True

    def add_edge(self, edge: Edge) -> None:
        """Adds an edge if both of its nodes are in the graph and there is room for it."""
        if edge[:3] in self.edges or edge.run_id not in self.runs or edge.version_id not in self.versions:
            return
        self.edge_room -= 20 + _bytes(edge.run_id, edge.version_id, edge.use_as)
        if self.edge_room < 0:
            self.truncated = True
        else:
            self.edges[edge[:3]] = edge

    @property
    def room(self) -> int:
        """Nodes that may still be added."""
        return NODE_LIMIT - len(self.runs) - len(self.versions)


def find_producer(session: Session, principal: Principal, run_id: str) -> str | None:
    """The id of the run in the header; None if there is none. Raises NotFound, InvalidField."""
    if not run_id:
        return None
    row = session.execute(_PRODUCER, {"run": fields.parse_id("header.run_id", run_id)}).one_or_none()
    if row is None or row.deleted_at is not None:
        raise owners.not_found("run", run_id)
    # A run may log into a project of another entity.
    if not authorize(session, principal, Action.WRITE, Resource(row.entity, row.project)):
        raise owners.not_found("run", run_id)
    found: str = row.id
    return found


def record_output(session: Session, run_id: str, version: ArtifactVersion) -> None:
    """Records that the run made the version. Idempotent."""
    row = {
        "run_id": run_id,
        "version_id": version.id,
        "relation": "output",
        "use_as": "",
        "created_at": now(session),
    }
    insert_missing(session, Lineage, [row])


def use(session: Session, principal: Principal, run_id: str, version: ArtifactVersion, use_as: str) -> None:
    """Records that a run used a version. Idempotent. Raises NotFound, InvalidField."""
    fields.check("use_as", refs.check_text, use_as, limit=128)
    run = runs.find(session, principal, run_id, action=Action.WRITE, name="run_id").run
    row = {"run_id": run.id, "version_id": version.id, "relation": "input"}
    insert_missing(session, Lineage, [{**row, "use_as": use_as, "created_at": now(session)}])


def walk(
    session: Session,
    principal: Principal,
    *,
    run_id: str = "",
    version_id: str = "",
    direction: Direction = "both",
    depth: int = 0,
) -> Graph:
    """The graph around one run or one version, tombstones included. Raises NotFound, InvalidField.

    A few queries for each step, however wide it is. Nodes in entities that the
    principal may not access are left out, and not followed.
    """
    if not 0 <= depth <= LINEAGE_DEPTH:
        raise errors.InvalidField.of("depth", f"is {depth}; expected 1 to {LINEAGE_DEPTH}")
    graph = Graph()
    if run_id:
        runs, found = _add_runs(session, principal, graph, [fields.parse_id("run_id", run_id)]), set[str]()
    else:
        wanted = fields.parse_id("id", version_id)
        runs, found = set(), _add_versions(session, principal, graph, [wanted])
    if not runs and not found:
        raise owners.not_found("run" if run_id else "version", run_id or version_id)
    for _ in range(depth or DEFAULT_DEPTH):
        edges = _edges(session, graph, Lineage.run_id, runs, _FROM_RUN[direction])
        edges += _edges(session, graph, Lineage.version_id, found, _FROM_VERSION[direction])
        runs = _add_runs(session, principal, graph, {edge.run_id for edge in edges})
        found = _add_versions(session, principal, graph, {edge.version_id for edge in edges})
        for edge in edges:
            graph.add_edge(edge)
        if not runs and not found:
            break
    return graph


def _edges(
    session: Session,
    graph: Graph,
    column: InstrumentedAttribute[str],
    ids: Iterable[str],
    relations: Sequence[str],
) -> list[Edge]:
    edges: list[Edge] = []
    for batch in batches(sorted(ids)):
        # A single node may have more neighbours than the graph has room for.
        rows = session.execute(
            select(Lineage.run_id, Lineage.version_id, Lineage.relation, Lineage.use_as)
            .where(column.in_(batch), Lineage.relation.in_(relations))
            .order_by(Lineage.run_id, Lineage.version_id, Lineage.relation)
            .limit(2 * NODE_LIMIT)
        ).all()
        graph.truncated = graph.truncated or len(rows) == 2 * NODE_LIMIT
        edges += (Edge(*row) for row in rows)
    return edges


def _new(graph: Graph, known: Iterable[str], ids: Iterable[str]) -> list[str]:
    """The ids that are not known yet, as many as there is room for."""
    fresh = sorted(set(ids) - set(known))
    if len(fresh) > graph.room:
        graph.truncated = True
    return fresh[: graph.room]


_SHOWN_OF_RUNS = (Run.id, Run.run_id, Run.display_name, Run.state, Run.heartbeat_at, Run.deleted_at)


def _add_runs(session: Session, principal: Principal, graph: Graph, ids: Iterable[str]) -> set[str]:
    added: set[str] = set()
    time = now(session)
    for batch in batches(_new(graph, graph.runs, ids)):
        rows = session.execute(
            select(Entity.name, Project.name, *_SHOWN_OF_RUNS)
            .select_from(Run)
            .join(Project, Project.id == Run.project_id)
            .join(Entity, Entity.id == Project.entity_id)
            .where(Run.id.in_(batch))
        )
        for entity, project, id_, run_id, display_name, stored, heartbeat_at, deleted_at in rows:
            if authorize(session, principal, Action.READ, Resource(entity, project)):
                path, state = f"{entity}/{project}/{run_id}", runs.state_at(time, stored, heartbeat_at)
                if graph.add_run(RunNode(id_, path, display_name, state, deleted_at is not None)):
                    added.add(id_)
    return added


def _add_versions(session: Session, principal: Principal, graph: Graph, ids: Iterable[str]) -> set[str]:
    added: set[str] = set()
    for batch in batches(_new(graph, graph.versions, ids)):
        rows = session.execute(
            select(
                Entity.name,
                Project.name,
                Collection.name,
                Collection.type,
                ArtifactVersion.id,
                ArtifactVersion.number,
                ~versions.live(session),
            )
            .select_from(ArtifactVersion)
            .join(Collection, Collection.id == ArtifactVersion.collection_id)
            .join(Project, Project.id == Collection.project_id)
            .join(Entity, Entity.id == Project.entity_id)
            .where(ArtifactVersion.id.in_(batch))
        ).all()
        _, links = versions.links_of(session, principal, batch)
        for entity, project, name, type_, id_, number, deleted in rows:
            if authorize(session, principal, Action.READ, Resource(entity, project)):
                ref = f"{entity}/{project}/{name}:v{number}"
                if graph.add_version(VersionNode(id_, ref, type_, deleted, links.get(id_, ()))):
                    added.add(id_)
    return added


def _bytes(*texts: str) -> int:
    return sum(len(text.encode()) for text in texts)
