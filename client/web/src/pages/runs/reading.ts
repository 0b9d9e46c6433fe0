// What the table of runs reads from the server: pages of runs, the keys that they have, the best value of a column.
import { MetricGoal, type Run } from "../../gen/modelyard/v1/run_pb";
import { MetricStream } from "../../gen/modelyard/v1/metric_pb";
import type { FilterField } from "../../parts/fields/completion";
import { partsOf, quoted } from "../../parts/fields/field-names";
import { STATE_WORDS } from "../../parts/run-state";
import { runs as service } from "../../wire/clients";
import { type Definitions, definitionOf } from "../../wire/definitions";
import type { Page } from "../../wire/lists";
import { metricNames } from "../../wire/samples";
import { ALWAYS, type Column } from "./columns";

export interface Place {
  entity: string;
  project: string;
}

/** Columns at first: so many results, and so many values of the config that differ. */
const FIRST_COLUMNS = 2;
const MOST_DIFFERENT = 30;
const NAMED_AT_ONCE = 100;

export function readMask(columns: readonly Column[]): string[] {
  return [...new Set([...ALWAYS, ...columns.flatMap((column) => column.paths)])];
}

export async function readPage(place: Place, filter: string, orderBy: string, paths: string[], token: string, size: number): Promise<Page<Run>> {
  const reply = await service.listRuns({ ...place, filter, orderBy, pageSize: size, pageToken: token, readMask: { paths }, countTotal: !token });
  return { rows: reply.runs, next: reply.nextPageToken, total: reply.totalSize === undefined ? undefined : Number(reply.totalSize) };
}

/** The runs of these names, such as those that are drawn but are beyond the rows that were read. */
export async function readNamed(place: Place, names: readonly string[], paths: string[]): Promise<Run[]> {
  if (!names.length) return [];
  const filter = names.slice(0, NAMED_AT_ONCE).map((name) => `name = ${JSON.stringify(name)}`).join(" OR ");
  return (await service.listRuns({ ...place, filter, pageSize: NAMED_AT_ONCE, readMask: { paths } })).runs;
}

export interface Keys {
  /** Names of fields in filters. */
  fields: readonly { name: string; isNumeric: boolean; differs: boolean }[];
  runs: number;
}

export async function readKeys(place: Place, filter: string): Promise<Keys> {
  const reply = await service.listRunKeys({ ...place, filter });
  return { fields: reply.keys.map((key) => ({ name: key.field, isNumeric: key.numeric, differs: key.differs })), runs: Number(reply.runCount) };
}

export interface Newest {
  definitions: Definitions;
  /** The names of its metrics. */
  metrics: readonly string[];
}

/** What the newest run says about its metrics. */
export async function readNewest(place: Place): Promise<Newest> {
  const { runs } = await service.listRuns({ ...place, pageSize: 1, readMask: { paths: ["metric_definitions"] } });
  return { definitions: runs[0]?.metricDefinitions ?? {}, metrics: await metricNames(runs.map((run) => run.id), MetricStream.HISTORY) };
}

/** The columns where the address names none: results that are likely to matter, and what differs in the config. */
export function firstColumns(keys: Keys, newest: Newest): string[] {
  const numeric = new Set(keys.fields.filter((key) => key.isNumeric).map((key) => key.name));
  const weight = (name: string) => 2 * Number(/val|test|eval/i.test(name)) + Number(/loss|acc|f1|auc|score|err/i.test(name));
  const results = [...newest.metrics].sort((a, b) => weight(b) - weight(a)).flatMap((name) => resultOf(name, numeric) ?? []);
  return [...results.slice(0, FIRST_COLUMNS), ...differing(keys).slice(0, FIRST_COLUMNS), "create_time"];
}

/** The field of a metric's result: `define_metric` may keep several values, and no plain one. */
function resultOf(metric: string, numeric: ReadonlySet<string>): string | undefined {
  const name = `summary.${quoted(metric)}`;
  return [name, ...["best", "last", "max", "min", "mean"].map((kind) => `${name}.${kind}`)].find((one) => numeric.has(one));
}

/** The keys of the config in which the runs differ. */
export function differing(keys: Keys): string[] {
  return keys.fields.filter((key) => key.differs && key.name.startsWith("config.")).map((key) => key.name).slice(0, MOST_DIFFERENT);
}

/** Whether a smaller value of a column is better, by the goal that the run defined, else by the name. */
export function isLessBetter(column: Column, definitions: Definitions): boolean {
  const metric = partsOf(column.id)[1] ?? "";
  const goal = definitionOf(definitions, metric)?.goal;
  return goal ? goal === MetricGoal.MINIMIZE : /loss|err|mse|mae|rmse|perplexity/i.test(column.label);
}

/** The best value of each result among all runs that match. */
export async function readBest(place: Place, filter: string, columns: readonly Column[], definitions: Definitions): Promise<ReadonlyMap<string, number>> {
  const best = new Map<string, number>();
  await Promise.all(
    columns.map(async (column) => {
      const orderBy = isLessBetter(column, definitions) ? column.id : `${column.id} desc`;
      const { runs } = await service.listRuns({ ...place, filter, orderBy, pageSize: 1, readMask: { paths: [...column.paths] } });
      const number = runs[0] && column.number(runs[0], new Map());
      if (number !== undefined) best.set(column.id, number);
    }),
  );
  return best;
}

const FILTERED: readonly [string, string][] = [
  ["name", "the id of the run"],
  ["display_name", "text"],
  ["state", "state"],
  ["group", "text"],
  ["job_type", "text"],
  ["tags", "list"],
  ["created_by", "who"],
  ["create_time", "time"],
  ["update_time", "time"],
];

/** What a filter can name. */
export function filterFields(keys: Keys | undefined): FilterField[] {
  const values: Record<string, readonly string[]> = { state: Object.values(STATE_WORDS).map((word) => `"${word}"`) };
  const own = FILTERED.map(([name, hint]) => ({ name, hint, ...(values[name] ? { values: values[name] } : {}) }));
  const ofRuns = (keys?.fields ?? []).map((key) => ({ name: key.name, hint: key.isNumeric ? "number" : "" }));
  return [...own, ...ofRuns];
}
