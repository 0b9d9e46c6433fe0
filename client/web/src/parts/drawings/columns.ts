// Places the nodes of a directed graph in columns, every edge leading to the right, in time that grows with its size.
//
// A column is the length of the longest way to a node. In a column, nodes stand near the mean of their neighbours: at first
// in this order only, then at heights that are as near to it as the distances between them allow.

export interface Place {
  column: number;
  /** The middle; the least of all is 0. */
  y: number;
}

type Edge = readonly [from: string, to: string];

const ORDER_SWEEPS = 8;
/** An odd number: the last one goes to the right, so that a chain ends in a straight line. */
const HEIGHT_SWEEPS = 25;

/** `gap` is the distance between the middles of two neighbours in a column. */
export function inColumns(ids: readonly string[], edges: readonly Edge[], gap: number): Map<string, Place> {
  const forward = withoutCycles(ids, edges);
  const columns = columnsOf(ids, forward);
  const neighbours = neighboursOf(ids, forward);
  const layers: string[][] = [];
  for (const id of ids) (layers[columns.get(id) ?? 0] ??= []).push(id);
  const filled = Array.from(layers, (layer) => layer ?? []);
  order(filled, neighbours);
  const heights = heightsOf(filled, neighbours, gap);
  const least = [...heights.values()].reduce((low, y) => Math.min(low, y), Infinity);
  return new Map(ids.map((id) => [id, { column: columns.get(id) ?? 0, y: (heights.get(id) ?? 0) - least }]));
}

function neighboursOf(ids: readonly string[], edges: readonly Edge[]): Map<string, string[]> {
  const found = new Map<string, string[]>(ids.map((id) => [id, []]));
  for (const [from, to] of edges) {
    found.get(from)?.push(to);
    found.get(to)?.push(from);
  }
  return found;
}

/** The edges without those that lead back to where a way came from: a run may use what it has made. */
function withoutCycles(ids: readonly string[], edges: readonly Edge[]): Edge[] {
  const next = new Map<string, string[]>(ids.map((id) => [id, []]));
  for (const [from, to] of edges) next.get(from)?.push(to);
  const state = new Map<string, "open" | "done">();
  const kept: Edge[] = [];
  for (const start of ids) {
    if (state.has(start)) continue;
    state.set(start, "open");
    const way: [string, number][] = [[start, 0]];
    for (let top = way[way.length - 1]; top; top = way[way.length - 1]) {
      const [id, at] = top;
      const to = next.get(id)?.[at];
      if (to === undefined) {
        state.set(id, "done");
        way.pop();
        continue;
      }
      top[1] = at + 1;
      if (state.get(to) === "open") continue;
      kept.push([id, to]);
      if (state.has(to)) continue;
      state.set(to, "open");
      way.push([to, 0]);
    }
  }
  return kept;
}

/** The column of each node: the longest way that leads to it. What nothing leads to stands beside what it leads to. */
function columnsOf(ids: readonly string[], edges: readonly Edge[]): Map<string, number> {
  const columns = new Map<string, number>(ids.map((id) => [id, 0]));
  const next = new Map<string, string[]>(ids.map((id) => [id, []]));
  const missing = new Map<string, number>(ids.map((id) => [id, 0]));
  for (const [from, to] of edges) {
    next.get(from)?.push(to);
    missing.set(to, (missing.get(to) ?? 0) + 1);
  }
  const first = ids.filter((id) => !missing.get(id));
  const ready = [...first];
  for (const id of ready) {
    for (const to of next.get(id) ?? []) {
      columns.set(to, Math.max(columns.get(to) ?? 0, (columns.get(id) ?? 0) + 1));
      missing.set(to, (missing.get(to) ?? 1) - 1);
      if (!missing.get(to)) ready.push(to);
    }
  }
  for (const id of first) {
    const least = (next.get(id) ?? []).reduce((low, to) => Math.min(low, columns.get(to) ?? 0), Infinity);
    if (least !== Infinity) columns.set(id, Math.max(0, least - 1));
  }
  return columns;
}

/** Sorts the nodes of each column by the mean position of their neighbours, to and fro. */
function order(layers: string[][], neighbours: ReadonlyMap<string, readonly string[]>): void {
  const at = new Map<string, number>();
  const note = (layer: readonly string[]) => layer.forEach((id, index) => at.set(id, index - layer.length / 2));
  layers.forEach(note);
  for (let sweep = 0; sweep < ORDER_SWEEPS; sweep += 1) {
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const means = new Map(layer.map((id) => [id, mean(neighbours.get(id), at) ?? at.get(id) ?? 0]));
      layer.sort((one, other) => (means.get(one) ?? 0) - (means.get(other) ?? 0));
      note(layer);
    }
  }
}

function heightsOf(layers: readonly (readonly string[])[], neighbours: ReadonlyMap<string, readonly string[]>, gap: number): Map<string, number> {
  const heights = new Map<string, number>();
  for (const layer of layers) layer.forEach((id, index) => heights.set(id, (index - (layer.length - 1) / 2) * gap));
  for (let sweep = 0; sweep < HEIGHT_SWEEPS; sweep += 1) {
    for (const layer of sweep % 2 ? [...layers].reverse() : layers) {
      const wanted = layer.map((id) => mean(neighbours.get(id), heights) ?? heights.get(id) ?? 0);
      apart(wanted, gap).forEach((y, index) => heights.set(layer[index] ?? "", y));
    }
  }
  return heights;
}

function mean(ids: readonly string[] | undefined, of: ReadonlyMap<string, number>): number | undefined {
  if (!ids?.length) return undefined;
  return ids.reduce((sum, id) => sum + (of.get(id) ?? 0), 0) / ids.length;
}

/** Heights in the same order, at least `gap` apart, with the least sum of squared moves: neighbours that collide become a block. */
export function apart(wanted: readonly number[], gap: number): number[] {
  const blocks: { sum: number; count: number }[] = [];
  wanted.forEach((y, index) => {
    blocks.push({ sum: y - index * gap, count: 1 });
    for (;;) {
      const [last, before] = [blocks[blocks.length - 1], blocks[blocks.length - 2]];
      if (!last || !before || before.sum / before.count <= last.sum / last.count) return;
      blocks.pop();
      before.sum += last.sum;
      before.count += last.count;
    }
  });
  const starts = blocks.flatMap(({ sum, count }) => Array<number>(count).fill(sum / count));
  return starts.map((start, index) => start + index * gap);
}
