// The charts of runs: one for each metric, or for training and validation together, read when it comes into sight.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { MetricStream } from "../../gen/modelyard/v1/metric_pb";
import { Bones, Empty, Failed } from "../../parts/states";
import { count } from "../../parts/text";
import { parameter } from "../../routes";
import { type Definitions, definitionOf } from "../../wire/definitions";
import { useLast, useThrottled } from "../../wire/pacing";
import { useQuery } from "../../wire/queries";
import { metricNames, type Range } from "../../wire/samples";
import { AXES, ChartTools } from "./chart-tools";
import type { Band } from "./group-mean";
import type { DrawnLine } from "./lines";
import { type Panel, panelsOf } from "./panels";
import { type Drawing, LazyChart, saveRows } from "./sampled-chart";

const AGAIN_MS = 2_000;
/** A run that goes on may log metrics that it did not log before. */
const NAMES_AGAIN_MS = 10_000;
const FIRST_SHOWN = 60;
/** The runs whose metrics are asked for: those of a group are alike. */
const MOST_ASKED = 30;

interface Props {
  lines: readonly DrawnLine[];
  stream: MetricStream;
  /** What the program said about its metrics. */
  definitions?: Definitions;
  /** Counts what was heard of runs that go on. */
  changes: number;
}

const NONE: Definitions = {};

export function Charts({ lines, stream, definitions = NONE, changes }: Props) {
  const ids = lines.flatMap((line) => line.runIds.slice(0, Math.max(1, Math.floor(MOST_ASKED / lines.length))));
  const turn = useThrottled(changes, AGAIN_MS);
  const namesTurn = useThrottled(changes, NAMES_AGAIN_MS);
  const { value, failure } = useQuery(
    `metrics ${stream} ${ids.join()} ${namesTurn}`,
    () => metricNames(ids, stream),
    (event) => ids.includes(event.runId),
  );
  const names = useLast(value, `${stream} ${ids.join()}`);
  const most = useSignal(FIRST_SHOWN);
  const problem = useSignal("");
  const sought = parameter("metric");
  const pattern = patternOf(sought);
  const panels = useMemo(() => panelsOf(shownOf(names ?? [], pattern, definitions), parameter("split") !== "0"), [names, sought, definitions, parameter("split")]);
  const hasSplits = useMemo(() => panelsOf(names ?? [], true).some((panel) => panel.parts.length > 1), [names]);
  const hasGroups = lines.some((line) => line.size > 1);
  const drawing = drawingOf("", stream, hasGroups);
  const metrics = panels.flatMap((panel) => panel.parts.map((part) => part.metric));
  return (
    <>
      <ChartTools
        names={names ?? []}
        drawing={drawing}
        isBadPattern={sought !== "" && !pattern}
        hasGroups={hasGroups}
        hasSplits={hasSplits}
        download={() => void saveRows(lines, metrics, stream, "metrics-rows.csv", (text) => (problem.value = text))}
      />
      {lines.length > 1 && <Legend lines={lines} />}
      {problem.value && (
        <p class="hint bad" role="alert">
          {problem.value}
        </p>
      )}
      {failure && <Failed failure={failure} />}
      {!names && !failure && <Bones />}
      {names && !panels.length && <Empty title={names.length ? `No metric matches ${sought}` : "No metric was logged yet"} />}
      <div class="charts">
        {panels.slice(0, most.value).map((panel) => (
          <LazyChart key={panel.title} panel={panel} lines={lines} stream={stream} turn={turn} {...drawingOf(definedAxis(panel, definitions), stream, hasGroups)} />
        ))}
      </div>
      {panels.length > most.value && (
        <p class="more-rows">
          <button type="button" class="btn" onClick={() => (most.value += FIRST_SHOWN)}>
            Show {count(panels.length - most.value, "more chart")}
          </button>
        </p>
      )}
    </>
  );
}

/** The metrics that the search leaves; hidden ones only if it asks for them. */
function shownOf(names: readonly string[], pattern: RegExp | undefined, definitions: Definitions): string[] {
  return names.filter((name) => (pattern ? pattern.test(name) : !definitionOf(definitions, name)?.hidden));
}

/** The metric that is x of a chart, as the program defined it; "" where it did not. */
function definedAxis(panel: Panel, definitions: Definitions): string {
  return panel.parts.map((part) => definitionOf(definitions, part.metric)?.stepMetric).find(Boolean) ?? "";
}

function drawingOf(defined: string, stream: MetricStream, hasGroups: boolean): Drawing {
  // The rows of the machine have no steps of the training.
  const xAxis = parameter("x") || defined || (stream === MetricStream.SYSTEM ? "_runtime" : "_step");
  return {
    xAxis,
    xLabel: AXES[xAxis] ?? xAxis,
    isLogX: parameter("logx") === "1" && xAxis !== "_timestamp",
    isLogY: parameter("log") === "1",
    smoothing: Math.min(Math.max(Number(parameter("smooth")) || 0, 0), 0.99),
    band: bandOf(parameter("band"), hasGroups),
    range: rangeOf(parameter("range"), xAxis),
  };
}

function bandOf(text: string, hasGroups: boolean): Band {
  if (text === "minmax" || text === "std") return text;
  return hasGroups && text !== "none" ? "minmax" : "";
}

function Legend({ lines }: { lines: readonly DrawnLine[] }) {
  return (
    <ul class="legend legend-top">
      {lines.map((line) => (
        <li key={line.id} class={`c${line.colour}`}>
          <svg class="key" viewBox="0 0 18 10" aria-hidden="true">
            <path d="M0 5h18" stroke-width="3" stroke-dasharray={line.isDashed ? "5 4" : undefined} />
          </svg>
          <span class="fold">{line.name}</span>
          {line.size > line.runIds.length ? <span class="faint">{`mean of ${line.runIds.length} of ${count(line.size, "run")}`}</span> : line.size > 1 && <span class="faint">{`mean of ${count(line.size, "run")}`}</span>}
        </li>
      ))}
    </ul>
  );
}

/** The range of the address, `from~to~axis`, if it is one of this axis. */
function rangeOf(text: string, xAxis: string): Range | undefined {
  const [from, to, ...axis] = text.split("~");
  const [low, high] = [Number(from || NaN), Number(to || NaN)];
  const isOther = axis.length > 0 && axis.join("~") !== xAxis;
  return Number.isFinite(low) && Number.isFinite(high) && low < high && !isOther ? [low, high] : undefined;
}

function patternOf(text: string): RegExp | undefined {
  if (!text) return undefined;
  try {
    return new RegExp(text, "i");
  } catch {
    return undefined;
  }
}
