// What programs said about their metrics: the axis, which values are better, what is not shown.
import type { MetricDefinition } from "../gen/modelyard/v1/run_pb";

/** By the name of a metric, or by `prefix*`. */
export type Definitions = Readonly<Record<string, MetricDefinition>>;

/** The definition of a metric: that of its name, else that of the longest prefix. */
export function definitionOf(definitions: Definitions, metric: string): MetricDefinition | undefined {
  const own = definitions[metric];
  if (own) return own;
  const prefixes = Object.keys(definitions).filter((name) => name.endsWith("*") && metric.startsWith(name.slice(0, -1)));
  return definitions[prefixes.reduce((longest, name) => (name.length > longest.length ? name : longest), "")];
}
