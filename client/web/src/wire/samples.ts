// Samples of metrics for charts: a line through the points of a bucket that matter, each a point that was logged.
import { createClient } from "@connectrpc/connect";
import { MetricKind, MetricService, type MetricStream, type SampleMetricsResponse } from "../gen/modelyard/v1/metric_pb";
import { transport } from "./clients";

export const metrics = createClient(MetricService, transport);

export interface Points {
  xs: number[];
  ys: number[];
  /** The mean of each bucket, for smoothing: extremes would pull a line to where nobody logged much. */
  meanXs: number[];
  means: number[];
}

const BUCKETS = 400;
const KEYS_PAGE = 10_000;

/** The names of the numeric metrics of runs, in order; those of the program first. */
export async function metricNames(runIds: readonly string[], stream: MetricStream): Promise<string[]> {
  const found = new Set<string>();
  for (const reply of await Promise.all(runIds.map((runId) => metrics.listMetricKeys({ runId, stream, pageSize: KEYS_PAGE })))) {
    for (const key of reply.keys) if (key.kind === MetricKind.NUMBER && !key.key.startsWith("_")) found.add(key.key);
  }
  return [...found].sort();
}

export interface Question {
  runIds: readonly string[];
  key: string;
  xAxis: string;
  range: readonly [number, number] | undefined;
  stream: MetricStream;
}

/** The points of a metric by the run's id. */
export async function sample({ runIds, key, xAxis, range, stream }: Question): Promise<Map<string, Points>> {
  const found = new Map<string, Points>();
  if (!runIds.length) return found;
  const question = { runIds: [...runIds], keys: [key], xAxis, bucketCount: BUCKETS, stream, ...(range ? { minX: range[0], endX: range[1] } : {}) };
  for await (const reply of metrics.sampleMetrics(question)) found.set(reply.runId, pointsOf(reply));
  return found;
}

/** First, least, largest and last point of each bucket, in the order of x, each once. */
export function pointsOf(reply: SampleMetricsResponse): Points {
  const points: Points = { xs: [], ys: [], meanXs: [], means: [] };
  reply.buckets.forEach((_, at) => {
    const counted = reply.counts[at] ?? 0;
    if (counted) {
      points.meanXs.push(((reply.firstValueXs[at] ?? 0) + (reply.lastValueXs[at] ?? 0)) / 2);
      points.means.push((reply.sums[at] ?? 0) / counted);
    }
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
