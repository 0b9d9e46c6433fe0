// What runs logged besides numbers: maps with a `_type`, by key and step.
import type { AnyValue } from "../gen/modelyard/v1/value_pb";
import { MetricKind, MetricStream } from "../gen/modelyard/v1/metric_pb";
import { metrics } from "./samples";

export interface Shown {
  step: number;
  value: Plain;
}

export type Plain = null | boolean | number | string | Plain[] | { [key: string]: Plain };

const MOST_KEYS = 1_000;
const MOST_ROWS = 5_000;
const TYPES = new Set(["image-file", "images/separated", "table-file", "audio-file", "video-file", "html-file", "histogram", "incremental-table-file"]);

/** The names of what may be media. */
export async function mediaKeys(runIds: readonly string[]): Promise<string[]> {
  const found = new Set<string>();
  for (const reply of await Promise.all(runIds.map((runId) => metrics.listMetricKeys({ runId, pageSize: MOST_KEYS })))) {
    for (const key of reply.keys) if (key.kind === MetricKind.OTHER && !key.key.startsWith("_")) found.add(key.key);
  }
  return [...found].sort();
}

/** The media of a key in the order of their steps; nothing where the key holds other values. */
export async function mediaOf(runId: string, key: string): Promise<Shown[]> {
  const found: Shown[] = [];
  for await (const { batch } of metrics.scanMetricHistory({ runId, keys: [key], stream: MetricStream.HISTORY })) {
    const column = batch?.columns.find((one) => one.key === key);
    column?.values.forEach((value, at) => {
      const step = batch?.steps[column.rows[at] ?? at];
      const shown = plain(value);
      if (step !== undefined && isMedia(shown)) found.push({ step: Number(step), value: shown });
    });
    if (found.length >= MOST_ROWS) break;
  }
  return found;
}

function isMedia(value: Plain): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value) && TYPES.has(String(value["_type"]));
}

/** A value as JSON has it. */
export function plain(value: AnyValue): Plain {
  switch (value.kind.case) {
    case "boolValue":
    case "doubleValue":
    case "stringValue":
      return value.kind.value;
    case "intValue":
      return Number(value.kind.value);
    case "listValue":
      return value.kind.value.values.map(plain);
    case "mapValue":
      return Object.fromEntries(Object.entries(value.kind.value.entries).map(([key, one]) => [key, plain(one)]));
    default:
      return null;
  }
}

/** What was logged at a step or last before it. */
export function at(media: readonly Shown[], step: number): Shown | undefined {
  return media.findLast((one) => one.step <= step);
}
