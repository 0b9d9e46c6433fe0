"""Lineage: run —output→ version —input→ run, as a graph that prints as a tree, DOT or Mermaid."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# What an edge says, read from the run and read from the version.
_FROM_RUN = {"output": "made", "input": "used"}
_FROM_VERSION = {"output": "made by", "input": "used by"}


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
        return _as_tree(self)

    def _repr_html_(self) -> str:
        """As notebooks show it."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_dot(self) -> str:
        """The graph in the language of Graphviz."""
        return _as_dot(self)

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return _as_mermaid(self)

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


def _as_tree(lineage: Lineage) -> str:
    """A tree from where the lineage starts, each run and version once.

    One that was drawn before is named again with `(above)`, so that every edge is seen.
    """
    if lineage.start not in lineage.nodes:
        return ""
    lines = [_described(lineage, lineage.start)]
    drawn: set[str] = {lineage.start}
    crossed: set[LineageEdge] = set()
    # An explicit stack: 32 steps deep is little, but a wide graph has many branches.
    stack = [_branches(lineage, lineage.start, "", crossed)]
    while stack:
        branch = next(stack[-1], None)
        if branch is None:
            stack.pop()
            continue
        edge, other, prefix, last = branch
        words = _words(edge, from_version=other == edge.run_id)
        seen = " (above)" if other in drawn else ""
        described = lineage.label(other) if seen else _described(lineage, other)
        lines.append(f"{prefix}{'└─' if last else '├─'} {words} {described}{seen}")
        if not seen:
            drawn.add(other)
            stack.append(_branches(lineage, other, prefix + ("   " if last else "│  "), crossed))
    if lineage.truncated:
        lines.append("… cut at 10,000 runs and versions: ask for fewer steps")
    return "\n".join(lines)


def _words(edge: LineageEdge, *, from_version: bool) -> str:
    if not edge.use_as:
        return (_FROM_VERSION if from_version else _FROM_RUN)[edge.relation]
    return f"used as {edge.use_as} by" if from_version else f"used as {edge.use_as}"


def _branches(
    lineage: Lineage, node: str, prefix: str, crossed: set[LineageEdge]
) -> Iterator[tuple[LineageEdge, str, str, bool]]:
    ways = [(edge, other) for edge, other in lineage.around(node) if edge not in crossed]
    crossed.update(edge for edge, _ in ways)
    for index, (edge, other) in enumerate(ways):
        yield edge, other, prefix, index == len(ways) - 1


def _described(lineage: Lineage, node_id: str) -> str:
    node = lineage.nodes[node_id]
    if isinstance(node, LineageRun):
        return f"{node.path} ({node.name}, {'deleted' if node.deleted else node.state})"
    links = f" → {', '.join(node.linked_to)}" if node.linked_to else ""
    return f"{node.ref} ({node.type}{', deleted' if node.deleted else ''}){links}"


def _as_dot(lineage: Lineage) -> str:
    """A digraph: versions are boxes, runs ellipses, arrows go the way the data went."""
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for node in lineage.nodes.values():
        style = ', style=dashed, fontcolor="gray40"' if node.deleted else ""
        start = ", penwidth=2" if node.id == lineage.start else ""
        shape = "ellipse" if isinstance(node, LineageRun) else "box"
        lines.append(f"  {_quoted(node.id)} [shape={shape}, label={_quoted(_lines(node))}{style}{start}];")
    for edge in lineage.edges:
        tail, head = _ends(edge)
        label = f" [label={_quoted(edge.use_as)}]" if edge.use_as else ""
        lines.append(f"  {_quoted(tail)} -> {_quoted(head)}{label};")
    return "\n".join([*lines, "}"])


def _as_mermaid(lineage: Lineage) -> str:
    """A flowchart: versions are boxes, runs rounded, arrows go the way the data went."""
    short = {node_id: f"n{index}" for index, node_id in enumerate(lineage.nodes)}
    lines = ["flowchart LR"]
    for node in lineage.nodes.values():
        opening, closing = ("([", "])") if isinstance(node, LineageRun) else ("[", "]")
        text = "<br/>".join(html.escape(line) for line in _lines(node).split("\n"))
        lines.append(f'  {short[node.id]}{opening}"{text}"{closing}')
    for edge in lineage.edges:
        tail, head = _ends(edge)
        role = f'|"{html.escape(edge.use_as)}"|' if edge.use_as else ""
        lines.append(f"  {short[tail]} -->{role} {short[head]}")
    deleted = [short[node.id] for node in lineage.nodes.values() if node.deleted]
    if deleted:
        lines += ["  classDef deleted stroke-dasharray: 4", f"  class {','.join(deleted)} deleted"]
    return "\n".join(lines)


def _lines(node: LineageRun | LineageVersion) -> str:
    if isinstance(node, LineageRun):
        return f"{node.name}\n{node.path}"
    return "\n".join([node.ref, node.type, *(f"→ {ref}" for ref in node.linked_to)])


def _ends(edge: LineageEdge) -> tuple[str, str]:
    if edge.relation == "output":
        return edge.run_id, edge.version_id
    return edge.version_id, edge.run_id


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
