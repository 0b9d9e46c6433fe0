// A lineage graph as a drawing: laid out from left to right, moved by dragging, sized by buttons or Ctrl and the wheel.
import dagre from "@dagrejs/dagre";
import { useMemo, useRef, useState } from "preact/hooks";
import type { GetLineageResponse } from "../../gen/modelyard/v1/model_artifact_pb";
import { LineageRelation } from "../../gen/modelyard/v1/model_artifact_pb";
import { hrefOfRef, hrefOfRun } from "../../routes";
import { Icon } from "../icon";
import { STATE_WORDS } from "../run-state";

const WIDTH = 190;
const HEIGHT = 52;
const PILL = 18;
const ZOOMS = [0.25, 0.4, 0.6, 0.8, 1, 1.25, 1.6];
const FULL = ZOOMS.indexOf(1);
const LONGEST = 25;

export interface MapNode {
  id: string;
  kind: "run" | "version";
  title: string;
  second: string;
  /** Registered models that link the version. */
  links: readonly string[];
  href: string;
}

interface Placed extends MapNode {
  x: number;
  y: number;
}

export function LineageMap({ graph, centre }: { graph: GetLineageResponse; centre: string }) {
  const { nodes, wires, width, height } = useMemo(() => laidOut(graph), [graph]);
  const [zoom, setZoom] = useState(FULL);
  const host = useRef<HTMLDivElement>(null);
  const held = useRef<{ x: number; y: number; left: number; top: number } | undefined>(undefined);
  const scale = ZOOMS[zoom] ?? 1;
  const fit = () => {
    const room = host.current;
    if (!room) return;
    const fitting = Math.min(room.clientWidth / width, room.clientHeight / height);
    setZoom(Math.max(0, ZOOMS.findLastIndex((one) => one <= Math.min(1, fitting))));
  };
  return (
    <>
      <div class="tools">
        <span class="push row">
          <button type="button" class="btn icon" aria-label="Smaller" disabled={zoom === 0} onClick={() => setZoom(zoom - 1)}>
            −
          </button>
          <button type="button" class="btn icon" aria-label="Larger" disabled={zoom === ZOOMS.length - 1} onClick={() => setZoom(zoom + 1)}>
            <Icon name="plus" />
          </button>
          <button type="button" class="btn" onClick={fit}>
            Fit
          </button>
        </span>
      </div>
      <div
        class="map"
        ref={host}
        tabIndex={0}
        role="region"
        aria-label="Lineage map"
        onWheel={(event) => {
          if (!event.ctrlKey) return;
          event.preventDefault();
          setZoom(Math.min(ZOOMS.length - 1, Math.max(0, zoom + (event.deltaY < 0 ? 1 : -1))));
        }}
        onPointerDown={(event) => {
          const room = event.currentTarget;
          if (event.target instanceof Element && event.target.closest("a")) return;
          held.current = { x: event.clientX, y: event.clientY, left: room.scrollLeft, top: room.scrollTop };
          room.setPointerCapture(event.pointerId);
        }}
        onPointerMove={(event) => {
          const from = held.current;
          if (!from) return;
          event.currentTarget.scrollLeft = from.left - (event.clientX - from.x);
          event.currentTarget.scrollTop = from.top - (event.clientY - from.y);
        }}
        onPointerUp={() => (held.current = undefined)}
      >
        <svg width={width * scale} height={height * scale} viewBox={`0 0 ${width} ${height}`} role="group" aria-label={`${nodes.length} runs and versions`}>
          {wires.map((wire) => (
            <g key={wire.id}>
              <path class="wire" d={wire.path} />
              <path class="tip-end" d={`M${wire.x - 8} ${wire.y - 4}l8 4-8 4z`} />
            </g>
          ))}
          {nodes.map((node) => (
            <Node key={node.id} node={node} isOn={node.id === centre} />
          ))}
        </svg>
      </div>
    </>
  );
}

function Node({ node, isOn }: { node: Placed; isOn: boolean }) {
  const [left, top] = [node.x - WIDTH / 2, node.y - HEIGHT / 2];
  return (
    <a class={`node ${node.kind}${isOn ? " on" : ""}`} href={node.href} aria-current={isOn ? "true" : undefined}>
      <title>{[node.title, node.second, ...node.links].join("\n")}</title>
      <rect x={left} y={top} width={WIDTH} height={HEIGHT} rx={node.kind === "run" ? HEIGHT / 2 : 6} />
      <text class="t" x={left + 16} y={top + 22}>
        {shortened(node.title)}
      </text>
      <text x={left + 16} y={top + 40}>
        {shortened(node.links[0] ? `linked as ${node.links[0].split("/").pop() ?? ""}` : node.second)}
      </text>
    </a>
  );
}

function shortened(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 8)}…${text.slice(-7)}` : text;
}

/** Runs and versions of a graph, as nodes of the map. */
export function nodesOf(graph: GetLineageResponse): MapNode[] {
  return [
    ...graph.runs.map((run): MapNode => ({
      id: run.id,
      kind: "run",
      title: run.displayName || (run.ref.split("/").pop() ?? ""),
      second: run.deleted ? "deleted" : (STATE_WORDS[run.state] ?? "run"),
      links: [],
      href: hrefOfRun(run.ref),
    })),
    ...graph.versions.map((version): MapNode => ({
      id: version.id,
      kind: "version",
      title: version.ref.split("/").pop() ?? "",
      second: version.deleted ? "deleted" : version.type,
      links: version.linkedTo.map((link) => link.ref),
      href: hrefOfRef(version.ref, "version", version.type),
    })),
  ];
}

function laidOut(graph: GetLineageResponse) {
  const layout = new dagre.graphlib.Graph();
  layout.setGraph({ rankdir: "LR", nodesep: 20, ranksep: 56, marginx: 16, marginy: 16 });
  layout.setDefaultEdgeLabel(() => ({}));
  const nodes = nodesOf(graph);
  for (const node of nodes) layout.setNode(node.id, { width: WIDTH, height: HEIGHT + (node.links.length ? PILL / 2 : 0) });
  for (const edge of graph.edges) {
    const [from, to] = edge.relation === LineageRelation.OUTPUT ? [edge.runId, edge.versionId] : [edge.versionId, edge.runId];
    if (layout.hasNode(from) && layout.hasNode(to)) layout.setEdge(from, to);
  }
  dagre.layout(layout);
  const size = layout.graph();
  return {
    nodes: nodes.map((node): Placed => ({ ...node, x: layout.node(node.id).x ?? 0, y: layout.node(node.id).y ?? 0 })),
    wires: layout.edges().map(({ v, w }) => wireOf(v, w, layout.node(v), layout.node(w))),
    width: Math.max(200, size.width ?? 0),
    height: Math.max(100, size.height ?? 0),
  };
}

function wireOf(from: string, to: string, begin: { x?: number; y?: number }, end: { x?: number; y?: number }) {
  const [x1, y1] = [(begin.x ?? 0) + WIDTH / 2, begin.y ?? 0];
  const [x2, y2] = [(end.x ?? 0) - WIDTH / 2, end.y ?? 0];
  const bend = Math.max(20, (x2 - x1) / 2);
  return { id: `${from} ${to}`, path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 7} ${y2}`, x: x2, y: y2 };
}
