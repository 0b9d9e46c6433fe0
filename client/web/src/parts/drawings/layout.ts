// Where the nodes of a shown lineage stand: in columns from left to right, joined by curves.
import { inColumns } from "./columns";
import type { MapNode, Rest, Shown } from "./graph";

export const WIDTH = 190;
export const HEIGHT = 52;
export const REST_WIDTH = 92;
export const REST_HEIGHT = 28;
const GAP = HEIGHT + 20;
const COLUMN = WIDTH + 56;
const MARGIN = 16;

/** The middle of a thing. */
interface Spot {
  x: number;
  y: number;
}

export interface Wire {
  id: string;
  path: string;
  /** The end, where the tip is. */
  x: number;
  y: number;
  /** What it covers. */
  left: number;
  top: number;
  bottom: number;
}

export interface Layout {
  nodes: readonly (MapNode & Spot)[];
  rests: readonly (Rest & Spot)[];
  wires: readonly Wire[];
  width: number;
  height: number;
}

export function laidOut(shown: Shown): Layout {
  const edges = [...shown.edges, ...shown.rests.map((rest) => (rest.side === "up" ? ([restId(rest), rest.of] as const) : ([rest.of, restId(rest)] as const)))];
  const places = inColumns([...shown.nodes.map((node) => node.id), ...shown.rests.map(restId)], edges, GAP);
  const spotOf = (id: string): Spot => {
    const { column, y } = places.get(id) ?? { column: 0, y: 0 };
    return { x: MARGIN + WIDTH / 2 + column * COLUMN, y: MARGIN + HEIGHT / 2 + y };
  };
  const halves = new Map(shown.rests.map((rest) => [restId(rest), REST_WIDTH / 2]));
  const endOf = (id: string, side: 1 | -1): Spot => {
    const { x, y } = spotOf(id);
    return { x: x + side * (halves.get(id) ?? WIDTH / 2), y };
  };
  const spots = [...places.values()];
  return {
    nodes: shown.nodes.map((node) => ({ ...node, ...spotOf(node.id) })),
    rests: shown.rests.map((rest) => ({ ...rest, ...spotOf(restId(rest)) })),
    wires: edges.map(([from, to]) => wireOf(`${from} ${to}`, endOf(from, 1), endOf(to, -1))),
    width: 2 * MARGIN + WIDTH + COLUMN * spots.reduce((most, { column }) => Math.max(most, column), 0),
    height: 2 * MARGIN + HEIGHT + spots.reduce((most, { y }) => Math.max(most, y), 0),
  };
}

export function restId(rest: Rest): string {
  return `rest ${rest.side} ${rest.of}`;
}

function wireOf(id: string, from: Spot, to: Spot): Wire {
  const bend = Math.max(20, (to.x - from.x) / 2);
  return {
    id,
    path: `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${to.x - bend} ${to.y} ${to.x - 7} ${to.y}`,
    x: to.x,
    y: to.y,
    left: Math.min(from.x, to.x),
    top: Math.min(from.y, to.y),
    bottom: Math.max(from.y, to.y),
  };
}
