// The columns of the table of runs: fields of runs, keys of their config and summary, extremes of their metrics.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { ComponentChildren } from "preact";
import type { Run } from "../../gen/modelyard/v1/run_pb";
import type { AnyValue } from "../../gen/modelyard/v1/value_pb";
import { partsOf } from "../../parts/fields/field-names";
import { StateMark, STATE_WORDS } from "../../parts/run-state";
import { Time } from "../../parts/text";
import { durationText, numberOf, numberText, textOf } from "../../parts/values";
import type { Extremes } from "../../wire/samples";

export interface Column {
  /** As in the address, and for the server's columns its name in orders. */
  id: string;
  label: string;
  /** What of the thing that `label` names: config, min, max. */
  of: string;
  isNumeric: boolean;
  /** Whether its numbers are shown as numbers. */
  isNumber: boolean;
  /** A number of it as it is shown. */
  shown: (number: number) => string;
  /** Whether the server can order by it. */
  isOrdered: boolean;
  /** Whether the best value stands out. */
  isResult: boolean;
  /** What has to be read of a run. */
  paths: readonly string[];
  /** The metric whose extremes are shown. */
  metric: string;
  number: (run: Run, extremes: Extremes) => number | undefined;
  text: (run: Run, extremes: Extremes) => string;
  /** Where it is more than its text. */
  content?: (run: Run) => ComponentChildren;
}

/** What is read of every run. */
export const ALWAYS = ["display_name", "state", "create_time", "finish_time", "heartbeat_time", "attempt"];

const ORDERED = ["create_time", "update_time", "display_name", "name", "state"];
const EXTREME = /^(min|max)\((.+)\)$/;

interface Field {
  label: string;
  shown?: (number: number) => string;
  number?: (run: Run) => number | undefined;
  text?: (run: Run) => string;
  content?: (run: Run) => ComponentChildren;
  paths?: readonly string[];
}

const FIELDS: Record<string, Field> = {
  state: { label: "State", text: (run) => STATE_WORDS[run.state] ?? "", content: (run) => <StateMark state={run.state} /> },
  create_time: { label: "Begun", number: (run) => run.createTime && timestampMs(run.createTime), content: (run) => <Time at={run.createTime} /> },
  duration: { label: "Duration", number: secondsOf, shown: durationText, paths: [] },
  finish_time: { label: "Ended", number: (run) => run.finishTime && timestampMs(run.finishTime), content: (run) => <Time at={run.finishTime} /> },
  update_time: { label: "Changed", number: (run) => run.updateTime && timestampMs(run.updateTime), content: (run) => <Time at={run.updateTime} /> },
  name: { label: "Id", text: (run) => run.name, paths: [] },
  group: { label: "Group", text: (run) => run.group },
  job_type: { label: "Job type", text: (run) => run.jobType },
  tags: { label: "Tags", text: (run) => run.tags.join(", ") },
  notes: { label: "Notes", text: (run) => run.notes },
  created_by: { label: "By", text: (run) => run.createdBy },
  last_step: { label: "Last step", number: (run) => (run.lastStep === undefined ? undefined : Number(run.lastStep)) },
  exit_code: { label: "Exit code", number: (run) => run.exitCode },
  attempt: { label: "Attempt", number: (run) => run.attempt },
};
const TIMES = ["create_time", "finish_time", "update_time"];

/** The fields of runs that can be columns. */
export const FIELD_IDS = Object.keys(FIELDS);

/** The column of a name in the address; undefined where nothing has that name. */
export function columnOf(id: string): Column | undefined {
  const field = FIELDS[id];
  if (field) return ofField(id, field);
  const extreme = EXTREME.exec(id);
  if (extreme) return ofMetric(id, extreme[1] === "min" ? "min" : "max", extreme[2] ?? "");
  const [part = "", ...path] = partsOf(id);
  return (part === "config" || part === "summary") && path.length ? ofKey(id, part, path) : undefined;
}

function ofField(id: string, field: Field): Column {
  const number = field.number ?? (() => undefined);
  return {
    id,
    label: field.label,
    of: "",
    isNumeric: field.number !== undefined && !TIMES.includes(id),
    isNumber: field.number !== undefined && !field.shown && !field.content,
    shown: field.shown ?? numberText,
    isOrdered: ORDERED.includes(id),
    isResult: false,
    paths: field.paths ?? [id],
    metric: "",
    number,
    text: field.text ? (run) => field.text?.(run) || "—" : (run) => shownNumber(number(run), field.shown),
    ...(field.content ? { content: field.content } : {}),
  };
}

function ofKey(id: string, part: "config" | "summary", path: readonly string[]): Column {
  const value = (run: Run) => path.reduce<AnyValue | undefined>(entryOf, { kind: { case: "mapValue", value: { entries: run[part] } } } as AnyValue);
  return {
    id,
    label: path.join("."),
    of: part === "config" ? "config" : "",
    isNumeric: true,
    isNumber: true,
    shown: numberText,
    isOrdered: true,
    isResult: part === "summary",
    paths: [`${part}.${path[0]}`],
    metric: "",
    number: (run) => numberOf(value(run)),
    text: (run) => textOf(value(run)),
  };
}

function ofMetric(id: string, kind: "min" | "max", metric: string): Column {
  const number = (run: Run, extremes: Extremes) => extremes.get(metric)?.get(run.id)?.[kind];
  return {
    id,
    label: metric,
    of: kind,
    isNumeric: true,
    isNumber: true,
    shown: numberText,
    isOrdered: false,
    isResult: false,
    paths: [],
    metric,
    number,
    text: (run, extremes) => shownNumber(number(run, extremes)),
  };
}

function entryOf(value: AnyValue | undefined, key: string): AnyValue | undefined {
  return value?.kind.case === "mapValue" ? value.kind.value.entries[key] : undefined;
}

function shownNumber(number: number | undefined, shown: (number: number) => string = numberText): string {
  return number === undefined ? "—" : shown(number);
}

/** How long a run took; of one that goes on, until it was last heard of. */
function secondsOf(run: Run): number | undefined {
  const end = run.finishTime ?? run.heartbeatTime;
  return run.createTime && end ? Math.max(0, (timestampMs(end) - timestampMs(run.createTime)) / 1000) : undefined;
}

/** Runs in the order of a column: numbers, then texts, then those without a value, as the server orders. */
export function sorted(runs: readonly Run[], column: Column, isDescending: boolean, extremes: Extremes): Run[] {
  const keyed = runs.map((run) => ({ run, number: column.number(run, extremes), text: column.text(run, extremes) }));
  const kind = (one: { number: number | undefined; text: string }) => (one.number !== undefined ? 0 : one.text && one.text !== "—" ? 1 : 2);
  const sign = isDescending ? -1 : 1;
  keyed.sort((a, b) => kind(a) - kind(b) || sign * (a.number !== undefined && b.number !== undefined ? a.number - b.number : a.text < b.text ? -1 : Number(a.text > b.text)));
  return keyed.map((one) => one.run);
}
