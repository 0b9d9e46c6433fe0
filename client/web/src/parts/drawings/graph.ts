// A lineage as a graph: its runs and versions, and what of it is shown around one of them.
import { LineageRelation, type GetLineageResponse } from "../../gen/modelyard/v1/model_artifact_pb";
import { hrefOfRef, hrefOfRun } from "../../routes";
import { STATE_WORDS } from "../run-state";

export interface MapNode {
  id: string;
  kind: "run" | "version";
  title: string;
  second: string;
  /** Registered models that link the version. */
  links: readonly string[];
  href: string;
}

/** Towards what something was made from, or towards what it was used for. */
export type Side = "up" | "down";
export const SIDES: readonly Side[] = ["up", "down"];

export interface Graph {
  nodes: ReadonlyMap<string, MapNode>;
  next: Record<Side, ReadonlyMap<string, readonly string[]>>;
}

/** How many neighbours of a node are shown on a side, by `limitKey`. */
export type Limits = ReadonlyMap<string, number>;

/** Neighbours of a node that are not shown. */
export interface Rest {
  of: string;
  side: Side;
  count: number;
  shown: number;
}

export interface Shown {
  nodes: readonly MapNode[];
  /** From, to: in the direction in which things were made. */
  edges: readonly (readonly [string, string])[];
  rests: readonly Rest[];
  /** The sides of nodes on which there is something that can be hidden. */
  open: ReadonlySet<string>;
}

export function limitKey(id: string, side: Side): string {
  return `${side} ${id}`;
}

export function graphOf(reply: GetLineageResponse): Graph {
  const up = new Map<string, string[]>();
  const down = new Map<string, string[]>();
  for (const edge of reply.edges) {
    const [from, to] = edge.relation === LineageRelation.OUTPUT ? [edge.runId, edge.versionId] : [edge.versionId, edge.runId];
    append(up, to, from);
    append(down, from, to);
  }
  return { nodes: new Map(nodesOf(reply).map((node) => [node.id, node])), next: { up, down } };
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const known = map.get(key);
  if (known) known.push(value);
  else map.set(key, [value]);
}

function nodesOf(reply: GetLineageResponse): MapNode[] {
  return [
    ...reply.runs.map((run): MapNode => ({
      id: run.id,
      kind: "run",
      title: run.displayName || (run.ref.split("/").pop() ?? ""),
      second: run.deleted ? "deleted" : (STATE_WORDS[run.state] ?? "run"),
      links: [],
      href: hrefOfRun(run.ref),
    })),
    ...reply.versions.map((version): MapNode => ({
      id: version.id,
      kind: "version",
      title: version.ref.split("/").pop() ?? "",
      second: version.deleted ? "deleted" : version.type,
      links: version.linkedTo.map((link) => link.ref),
      href: hrefOfRef(version.ref, "version", version.type),
    })),
  ];
}

/** What is reached from the centre, of each node at most as many neighbours a side as its limit says. */
export function shownAround(graph: Graph, centre: string, limits: Limits, usual: number): Shown {
  const found = new Set([centre]);
  const open = new Set<string>();
  // A set goes on over what is added to it meanwhile: breadth first.
  for (const id of found) {
    for (const side of SIDES) {
      let room = limits.get(limitKey(id, side)) ?? usual;
      for (const other of graph.next[side].get(id) ?? []) {
        if (found.has(other) || !graph.nodes.has(other)) continue;
        if (room <= 0) break;
        room -= 1;
        found.add(other);
        open.add(limitKey(id, side));
      }
    }
  }
  const nodes = [...found].flatMap((id) => graph.nodes.get(id) ?? []);
  const edges = nodes.flatMap(({ id }) => [...new Set(graph.next.down.get(id))].filter((to) => found.has(to)).map((to) => [id, to] as const));
  return { nodes, edges, rests: restsOf(graph, found), open };
}

function restsOf(graph: Graph, found: ReadonlySet<string>): Rest[] {
  return [...found].flatMap((id) =>
    SIDES.flatMap((side): Rest[] => {
      const next = [...new Set(graph.next[side].get(id))].filter((other) => graph.nodes.has(other));
      const count = next.filter((other) => !found.has(other)).length;
      return count ? [{ of: id, side, count, shown: next.length - count }] : [];
    }),
  );
}

/** A line of the list: everything where it is met first on the way from the centre. */
export interface Line {
  node: MapNode;
  depth: number;
}

/** What lies on one side of the centre, depth first. */
export function linesOf(graph: Graph, centre: string, side: Side): Line[] {
  const lines: Line[] = [];
  const seen = new Set([centre]);
  const waiting: [string, number][] = [[centre, 0]];
  for (let top = waiting.pop(); top; top = waiting.pop()) {
    const [id, depth] = top;
    const node = graph.nodes.get(id);
    if (node && id !== centre) lines.push({ node, depth: depth - 1 });
    const next = (graph.next[side].get(id) ?? []).filter((other) => !seen.has(other));
    next.forEach((other) => seen.add(other));
    for (const other of next.reverse()) waiting.push([other, depth + 1]);
  }
  return lines;
}
