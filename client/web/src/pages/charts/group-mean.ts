// The mean of several runs, and how far they are from it.
import type { SampleMetricsResponse } from "../../gen/modelyard/v1/metric_pb";
import { type Mean, meansOf } from "../../wire/samples";

export type Band = "" | "minmax" | "std";

/**
 * The mean of runs whose buckets begin at the same x. Between the points of a run its value is on the line between
 * them; beyond its first and last point it does not count.
 */
export function meanOfRuns(replies: readonly SampleMetricsResponse[], band: Band): Mean[] {
  const runs = replies.map(meansOf);
  const buckets = [...new Set(runs.flatMap((means) => means.map((one) => one.bucket)))].sort((a, b) => a - b);
  const next = runs.map(() => 0);
  return buckets.map((bucket) => {
    const values = runs.flatMap((means, run) => {
      while ((means[next[run] ?? 0]?.bucket ?? Infinity) < bucket) next[run] = (next[run] ?? 0) + 1;
      return valueAt(means, next[run] ?? 0, bucket) ?? [];
    });
    return summed(bucket, values, band);
  });
}

/** What a run has in a bucket: its own mean and extremes, or the value between the points around it. */
function valueAt(means: readonly Mean[], next: number, bucket: number): Mean | undefined {
  const [before, after] = [means[next - 1], means[next]];
  if (!after || after.bucket === bucket || !before) return after?.bucket === bucket ? after : undefined;
  const part = (bucket - before.bucket) / (after.bucket - before.bucket);
  const between = (a: number, b: number) => a + (b - a) * part;
  const mean = between(before.mean, after.mean);
  return { bucket, x: between(before.x, after.x), mean, low: mean, high: mean };
}

function summed(bucket: number, values: readonly Mean[], band: Band): Mean {
  const meanOf = (number: (value: Mean) => number) => values.reduce((sum, one) => sum + number(one), 0) / values.length;
  const mean = meanOf((one) => one.mean);
  const x = meanOf((one) => one.x);
  if (band !== "std") return { bucket, x, mean, low: Math.min(...values.map((one) => one.low)), high: Math.max(...values.map((one) => one.high)) };
  const deviation = Math.sqrt(meanOf((one) => (one.mean - mean) ** 2));
  return { bucket, x, mean, low: mean - deviation, high: mean + deviation };
}
