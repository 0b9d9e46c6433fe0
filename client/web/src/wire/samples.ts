// Samples of metrics: buckets of what is on the screen, each with points that were logged.
import { createClient } from "@connectrpc/connect";
import { MetricKind, MetricService, MetricStream, type SampleMetricsResponse } from "../gen/modelyard/v1/metric_pb";
import { transport } from "./clients";

export const metrics = createClient(MetricService, transport);

export interface Points {
  xs: number[];
  ys: number[];
}

export interface Extreme {
  min: number;
  max: number;
}

/** By metric, then by the id of the run. */
export type Extremes = ReadonlyMap<string, ReadonlyMap<string, Extreme>>;
/** By metric, then by the id of the run. */
export type Samples = ReadonlyMap<string, ReadonlyMap<string, SampleMetricsResponse>>;
export type Range = readonly [number, number];

const BUCKETS = 400;
const KEYS_PAGE = 10_000;
const RUNS_AT_ONCE = 100;

/** The names of the numeric metrics of runs, in order. */
export async function metricNames(runIds: readonly string[], stream: MetricStream): Promise<string[]> {
  const found = new Set<string>();
  for (const reply of await Promise.all(runIds.map((runId) => metrics.listMetricKeys({ runId, stream, pageSize: KEYS_PAGE })))) {
    for (const key of reply.keys) if (key.kind === MetricKind.NUMBER && !key.key.startsWith("_")) found.add(key.key);
  }
  return [...found].sort();
}

export interface Question {
  runIds: readonly string[];
  keys: readonly string[];
  xAxis: string;
  /** From an x, inclusive, to an x, exclusive. */
  range: Range | undefined;
  stream: MetricStream;
  bucketCount?: number;
}

/** Metrics of runs in buckets. Those of different runs begin at the same x if a range is given. */
export async function sample({ runIds, keys, xAxis, range, stream, bucketCount = BUCKETS }: Question): Promise<Samples> {
  const found = new Map<string, Map<string, SampleMetricsResponse>>(keys.map((key) => [key, new Map()]));
  for (let at = 0; at < runIds.length; at += RUNS_AT_ONCE) {
    const some = runIds.slice(at, at + RUNS_AT_ONCE);
    const question = { runIds: some, keys: [...keys], xAxis, bucketCount, stream, ...(range ? { minX: range[0], endX: range[1] } : {}) };
    for await (const reply of metrics.sampleMetrics(question)) found.get(reply.key)?.set(reply.runId, reply);
  }
  return found;
}

/** From the least x of samples to the x after the largest; undefined without a point. */
export function rangeOfSamples(samples: Samples): Range | undefined {
  let [low, high] = [Infinity, -Infinity];
  for (const replies of samples.values()) {
    for (const reply of replies.values()) {
      for (const x of reply.firstXs) low = Math.min(low, x);
      for (const x of reply.lastXs) high = Math.max(high, x);
    }
  }
  if (!(low <= high)) return undefined;
  return [low, high + Math.max((high - low) * 1e-9, Math.abs(high) * 1e-12, 1e-9)];
}

/** The least and the largest value of metrics in the whole of each run. */
export async function extremesOf(runIds: readonly string[], keys: readonly string[]): Promise<Extremes> {
  const samples = await sample({ runIds, keys, xAxis: "_step", range: undefined, stream: MetricStream.HISTORY, bucketCount: 1 });
  return new Map([...samples].map(([key, replies]) => [key, new Map([...replies].map(([id, reply]) => [id, extremeOf(reply)]))]));
}

function extremeOf(reply: SampleMetricsResponse): Extreme {
  return { min: reply.mins[0] ?? NaN, max: reply.maxes[0] ?? NaN };
}

/** First, least, largest and last point of each bucket, in the order of x, each once. */
export function pointsOf(reply: SampleMetricsResponse): Points {
  const points: Points = { xs: [], ys: [] };
  reply.buckets.forEach((_, at) => {
    const four = [
      [reply.firstValueXs[at] ?? NaN, reply.firsts[at] ?? NaN],
      [reply.minXs[at] ?? NaN, reply.mins[at] ?? NaN],
      [reply.maxXs[at] ?? NaN, reply.maxes[at] ?? NaN],
      [reply.lastValueXs[at] ?? NaN, reply.lasts[at] ?? NaN],
    ] as const;
    let before = points.xs[points.xs.length - 1];
    for (const [x, y] of [...four].sort((a, b) => a[0] - b[0])) {
      if (Number.isNaN(x) || Number.isNaN(y) || x === before) continue;
      points.xs.push(x);
      points.ys.push(y);
      before = x;
    }
  });
  return points;
}

/** A mean of points with the least and the largest of them. */
export interface Mean {
  /** The number of its bucket. */
  bucket: number;
  x: number;
  mean: number;
  low: number;
  high: number;
}

/** The mean of each bucket and its extremes. A smoothed line goes by the means: extremes would pull it. */
export function meansOf(reply: SampleMetricsResponse): Mean[] {
  return reply.buckets.flatMap((bucket, at) => {
    const counted = reply.counts[at] ?? 0;
    if (!counted) return [];
    const x = ((reply.firstValueXs[at] ?? 0) + (reply.lastValueXs[at] ?? 0)) / 2;
    return [{ bucket, x, mean: (reply.sums[at] ?? 0) / counted, low: reply.mins[at] ?? NaN, high: reply.maxes[at] ?? NaN }];
  });
}
