// The charts of runs: one for each metric, or for training and validation together, read when it comes into sight.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import { MetricStream } from "../../gen/modelyard/v1/metric_pb";
import { Bones, Empty, Failed } from "../../parts/states";
import { count } from "../../parts/text";
import { parameter } from "../../routes";
import { useLast, useThrottled } from "../../wire/pacing";
import { useQuery } from "../../wire/queries";
import { metricNames, type Range } from "../../wire/samples";
import { AXES, ChartTools } from "./chart-tools";
import type { Band } from "./group-mean";
import type { DrawnLine } from "./lines";
import { panelsOf } from "./panels";
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
  /** Counts what was heard of runs that go on. */
  changes: number;
}

export function Charts({ lines, stream, changes }: Props) {
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
  const panels = useMemo(() => panelsOf((names ?? []).filter((name) => !pattern || pattern.test(name)), parameter("split") !== "0"), [names, sought, parameter("split")]);
  const hasSplits = useMemo(() => panelsOf(names ?? [], true).some((panel) => panel.parts.length > 1), [names]);
  const drawing = drawingOf(stream, lines.some((line) => line.size > 1));
  const metrics = panels.flatMap((panel) => panel.parts.map((part) => part.metric));
  return (
    <>
      <ChartTools
        names={names ?? []}
        drawing={drawing}
        isBadPattern={sought !== "" && !pattern}
        hasGroups={lines.some((line) => line.size > 1)}
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
          <LazyChart key={panel.title} panel={panel} lines={lines} stream={stream} turn={turn} {...drawing} />
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

function drawingOf(stream: MetricStream, hasGroups: boolean): Drawing {
  // The rows of the machine have no steps of the training.
  const xAxis = parameter("x") || (stream === MetricStream.SYSTEM ? "_runtime" : "_step");
  return {
    xAxis,
    xLabel: AXES[xAxis] ?? xAxis,
    isLogX: parameter("logx") === "1" && xAxis !== "_timestamp",
    isLogY: parameter("log") === "1",
    smoothing: Math.min(Math.max(Number(parameter("smooth")) || 0, 0), 0.99),
    band: bandOf(parameter("band"), hasGroups),
    range: rangeOf(parameter("range")),
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

function rangeOf(text: string): Range | undefined {
  const [from = NaN, to = NaN] = text.split("~").map(Number);
  return Number.isFinite(from) && Number.isFinite(to) && from < to ? [from, to] : undefined;
}

function patternOf(text: string): RegExp | undefined {
  if (!text) return undefined;
  try {
    return new RegExp(text, "i");
  } catch {
    return undefined;
  }
}
