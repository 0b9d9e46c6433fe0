// Which metrics stand in one chart: each in its own, or training and validation over each other.

export interface Part {
  metric: string;
  /** What the stroke tells; "" where the chart has one metric. */
  split: "" | "train" | "val";
}

export interface Panel {
  title: string;
  parts: readonly Part[];
}

const TRAIN = "train|training";
const VAL = "val|valid|validation|eval|dev";
const BEFORE = new RegExp(`^(?:(${TRAIN})|(${VAL}))[/_.-](.+)$`, "i");
const AFTER = new RegExp(`^(.+)[/_.-](?:(${TRAIN})|(${VAL}))$`, "i");

/** What a metric measures, and on which split. */
function splitOf(metric: string): { of: string; split: Part["split"] } {
  const before = BEFORE.exec(metric);
  if (before) return { of: before[3] ?? metric, split: before[1] ? "train" : "val" };
  const after = AFTER.exec(metric);
  if (after) return { of: after[1] ?? metric, split: after[2] ? "train" : "val" };
  return { of: metric, split: "" };
}

/** The charts of metrics, in their order. Without `overlays` each has one metric. */
export function panelsOf(metrics: readonly string[], overlays: boolean): Panel[] {
  const single = (metric: string): Panel => ({ title: metric, parts: [{ metric, split: "" }] });
  if (!overlays) return metrics.map(single);
  const found = metrics.map((metric) => ({ metric, ...splitOf(metric) }));
  const partner = (of: string, split: Part["split"]) => found.find((one) => one.of === of && one.split === split)?.metric;
  // A name without a split, as `loss` beside `val_loss`, is that of the training.
  const pair = (of: string) => [partner(of, "train") ?? partner(of, ""), partner(of, "val")] as const;
  return found.flatMap(({ metric, of }): Panel[] => {
    const [train, val] = pair(of);
    if (!train || !val || (metric !== train && metric !== val)) return [single(metric)];
    const panel: Panel = { title: of, parts: [{ metric: train, split: "train" }, { metric: val, split: "val" }] };
    return metric === [train, val].sort((a, b) => metrics.indexOf(a) - metrics.indexOf(b))[0] ? [panel] : [];
  });
}
