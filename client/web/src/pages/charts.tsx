// The charts of runs: one for each metric, read when it comes into sight.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MetricStream } from "../gen/modelyard/v1/metric_pb";
import { Chart, type Line } from "../parts/drawings/chart";
import { Icon } from "../parts/icon";
import { Bones, Empty, Failed } from "../parts/states";
import { count } from "../parts/text";
import { parameter, setParameters } from "../routes";
import { useQuery } from "../wire/queries";
import { metricNames, sample } from "../wire/samples";

export interface DrawnRun {
  id: string;
  name: string;
  colour: number;
  isDashed: boolean;
}

const AXES: Record<string, string> = { _step: "step", _runtime: "seconds since the start", _timestamp: "time" };
const AGAIN_MS = 2_000;
const FIRST_SHOWN = 60;

export function Charts({ runs, stream, changes }: { runs: readonly DrawnRun[]; stream: MetricStream; changes: number }) {
  const ids = runs.map((run) => run.id);
  const { value: names, failure } = useQuery(
    `metrics ${stream} ${ids.join()}`,
    () => metricNames(ids, stream),
    (event) => ids.includes(event.runId),
  );
  const sought = parameter("metric");
  const most = useSignal(FIRST_SHOWN);
  const xAxis = parameter("x") || "_step";
  const smoothing = Number(parameter("smooth")) || 0;
  const isLog = parameter("log") === "1";
  const range = rangeOf(parameter("range"));
  const turn = useThrottled(changes);
  const pattern = patternOf(sought);
  const shown = (names ?? []).filter((name) => !pattern || pattern.test(name));
  return (
    <>
      <div class="tools">
        <label class="with regex">
          <span class="vh">Metrics by regular expression</span>
          <Icon name="search" />
          <input
            class={`in mono${sought && !pattern ? " bad" : ""}`}
            placeholder="loss|acc"
            value={sought}
            onInput={(event) => setParameters({ metric: event.currentTarget.value })}
          />
        </label>
        <label class="row">
          x
          <select class="in" value={xAxis} onChange={(event) => setParameters({ x: event.currentTarget.value, range: "" })}>
            {Object.entries(AXES).map(([key, label]) => (
              <option key={key} value={key}>
                {label}
              </option>
            ))}
            {(names ?? []).slice(0, 100).map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <label class="row smooth">
          Smoothing
          <input
            type="range"
            min="0"
            max="0.99"
            step="0.01"
            value={smoothing}
            onInput={(event) => setParameters({ smooth: Number(event.currentTarget.value) ? event.currentTarget.value : "" })}
          />
          <output>{smoothing.toFixed(2)}</output>
        </label>
        <label class="row">
          <input type="checkbox" checked={isLog} onChange={(event) => setParameters({ log: event.currentTarget.checked ? "1" : "" })} />
          log y
        </label>
      </div>
      {failure && <Failed failure={failure} />}
      {!names && !failure && <Bones />}
      {names && !shown.length && <Empty title={names.length ? `No metric matches ${sought}` : "No metric was logged yet"} />}
      <div class="charts">
        {shown.slice(0, most.value).map((name) => (
          <LazyChart
            key={name}
            name={name}
            runs={runs}
            stream={stream}
            xAxis={xAxis}
            isLog={isLog}
            smoothing={smoothing}
            range={range}
            turn={turn}
          />
        ))}
      </div>
      {shown.length > most.value && (
        <p class="more-rows">
          <button type="button" class="btn" onClick={() => (most.value += FIRST_SHOWN)}>
            Show {count(shown.length - most.value, "more chart")}
          </button>
        </p>
      )}
    </>
  );
}

interface LazyProps {
  name: string;
  runs: readonly DrawnRun[];
  stream: MetricStream;
  xAxis: string;
  isLog: boolean;
  smoothing: number;
  range: readonly [number, number] | undefined;
  turn: number;
}

function LazyChart(props: LazyProps) {
  const host = useRef<HTMLDivElement>(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setSeen(entries.some((entry) => entry.isIntersecting)), { rootMargin: "200px" });
    if (host.current) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={host} class="chart-place">
      {isSeen && <SampledChart {...props} />}
    </div>
  );
}

function SampledChart({ name, runs, stream, xAxis, isLog, smoothing, range, turn }: LazyProps) {
  const ids = runs.map((run) => run.id);
  const [points, setPoints] = useState<Awaited<ReturnType<typeof sample>> | undefined>(undefined);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let isOver = false;
    sample({ runIds: ids, key: name, xAxis, range, stream }).then(
      (found) => !isOver && (setPoints(found), setProblem("")),
      (error: unknown) => !isOver && setProblem(error instanceof Error ? error.message : "It could not be read"),
    );
    return () => {
      isOver = true;
    };
  }, [ids.join(), name, xAxis, range?.join(), stream, turn]);
  const lines = useMemo(
    (): Line[] =>
      runs.flatMap((run) => {
        const found = points?.get(run.id);
        return found?.xs.length ? [{ ...run, ...found }] : [];
      }),
    [points, ids.join()],
  );
  if (problem) return <p class="hint bad">{problem}</p>;
  if (!points) return <Bones lines={5} label={`Loading ${name}`} />;
  return (
    <Chart
      title={name}
      lines={lines}
      xLabel={AXES[xAxis] ?? xAxis}
      isTime={xAxis === "_timestamp"}
      isLog={isLog}
      smoothing={smoothing}
      range={range}
      zoom={(to) => setParameters({ range: to ? to.join("~") : "" })}
    />
  );
}

/** A number that follows another one at most once in a while. */
function useThrottled(value: number): number {
  const [shown, setShown] = useState(value);
  useEffect(() => {
    if (value === shown) return;
    const timer = setTimeout(() => setShown(value), AGAIN_MS);
    return () => clearTimeout(timer);
  }, [shown, value === shown]);
  return shown;
}

export function rangeOf(text: string): readonly [number, number] | undefined {
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
