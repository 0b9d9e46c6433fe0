// A line chart of one metric: a line for each run, exact extremes at every zoom, raw lines as shadows of smoothed ones.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { numberText } from "../values";

export interface Line {
  id: string;
  name: string;
  /** 1 to 8: the colours of page.css. */
  colour: number;
  isDashed: boolean;
  xs: readonly number[];
  ys: readonly number[];
  /** What is smoothed. */
  meanXs: readonly number[];
  means: readonly number[];
}

interface Props {
  title: string;
  lines: readonly Line[];
  xLabel: string;
  isTime: boolean;
  isLog: boolean;
  /** 0 to 0.99: the weight of the past in the moving average. */
  smoothing: number;
  range: readonly [number, number] | undefined;
  zoom: (range: readonly [number, number] | undefined) => void;
}

const HEIGHT = 190;
const SHADOW = 0.3;
const SYNC = uPlot.sync("x");
const NARROWEST_DRAG = 4;

export function Chart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const [values, setValues] = useState<readonly (string | undefined)[]>([]);
  const [isAtRight, setAtRight] = useState(false);
  useEffect(() => {
    const element = host.current;
    if (!element || !props.lines.length) return;
    const show = (found: (string | undefined)[], atRight: boolean) => {
      setValues(found);
      setAtRight(atRight);
    };
    const plot = new uPlot(optionsOf(props, element, show), dataOf(props), element);
    const resized = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    return () => {
      resized.disconnect();
      plot.destroy();
    };
  }, [props.lines, props.isLog, props.smoothing, props.range, props.xLabel, document.documentElement.dataset["theme"]]);
  return (
    <figure class="chart">
      <figcaption>
        <span class="mono fold" title={props.title}>
          {props.title}
        </span>
        <span class="push">
          {props.lines.length === 1 && props.lines[0] && <b class="tab">{lastText(props.lines[0])}</b>}
          {props.range && (
            <button type="button" class="btn bare small" onClick={() => props.zoom(undefined)}>
              Reset zoom
            </button>
          )}
        </span>
      </figcaption>
      <div ref={host} class="plot-host" role="img" aria-label={`${props.title} by ${props.xLabel}: ${summary(props.lines)}`} />
      {values.some((value) => value !== undefined) && (
        <ul class={`chart-values${isAtRight ? " at-left" : ""}`}>
          {props.lines.map((line, number) => (
            <li key={line.id} class={`c${line.colour}`}>
              <i class="dot-key" />
              <span class="fold">{line.name}</span>
              <b class="num push">{values[number] ?? "—"}</b>
            </li>
          ))}
        </ul>
      )}
    </figure>
  );
}

function lastText(line: Line): string {
  const last = line.ys[line.ys.length - 1];
  return last === undefined ? "" : numberText(last);
}

function summary(lines: readonly Line[]): string {
  return lines.map((line) => `${line.name} ends at ${lastText(line)}`).join(", ");
}

function dataOf({ lines, smoothing }: Props): uPlot.AlignedData {
  const tables = lines.flatMap((line): uPlot.AlignedData[] => {
    const raw: uPlot.AlignedData = [[...line.xs], [...line.ys]];
    return smoothing ? [raw, [[...line.meanXs], smoothed(line.means, smoothing)]] : [raw];
  });
  return uPlot.join(tables);
}

/** The moving average with exponential weights, without the pull of its start towards 0. */
export function smoothed(ys: readonly number[], weight: number): number[] {
  let sum = 0;
  let total = 0;
  return ys.map((y) => {
    sum = sum * weight + y * (1 - weight);
    total = total * weight + (1 - weight);
    return sum / total;
  });
}

function optionsOf(props: Props, element: HTMLElement, show: (values: (string | undefined)[], isAtRight: boolean) => void): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => resolved(element, name);
  const lines = props.lines.flatMap((line): uPlot.Series[] => {
    const stroke = colour(`--s${line.colour}`);
    const main: uPlot.Series = { stroke, width: 1.75, spanGaps: true, points: { show: line.xs.length < 3 }, ...(line.isDashed ? { dash: [5, 4] } : {}) };
    return props.smoothing ? [{ ...main, width: 1, alpha: SHADOW, points: { show: false } }, main] : [main];
  });
  const axis = { stroke: colour("--text-3"), font: `11px ${style.fontFamily}`, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: SYNC.key }, drag: { x: true, y: false, setScale: false, dist: NARROWEST_DRAG }, points: { size: 6 } },
    scales: {
      x: { time: props.isTime, ...(props.range ? { range: () => [props.range?.[0] ?? 0, props.range?.[1] ?? 1] as [number, number] } : {}) },
      y: { distr: props.isLog ? 3 : 1 },
    },
    axes: [
      { ...axis, size: 26, space: 60 },
      { ...axis, size: 52, values: (_plot, ticks) => ticks.map((tick) => (tick === null ? "" : numberText(tick))) },
    ],
    series: [{}, ...lines],
    hooks: {
      setCursor: [(plot) => show(valuesAt(plot, props), (plot.cursor.left ?? 0) > plot.over.clientWidth / 2)],
      setSelect: [(plot) => selected(plot, props)],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => props.zoom(undefined))],
    },
  };
}

function valuesAt(plot: uPlot, { lines, smoothing }: Props): (string | undefined)[] {
  const at = plot.cursor.idx;
  if (at === null || at === undefined) return [];
  return lines.map((_, number) => {
    const ys = plot.data[smoothing ? number * 2 + 2 : number + 1];
    const y = ys && nearest(ys, at);
    return y === undefined || y === null ? undefined : numberText(y);
  });
}

/** The value at an index, or the last one before it: lines of other runs have points of their own. */
function nearest(ys: ArrayLike<number | null | undefined>, at: number): number | undefined {
  for (let index = at; index >= 0; index -= 1) {
    const y = ys[index];
    if (y !== null && y !== undefined) return y;
  }
  return undefined;
}

function selected(plot: uPlot, { zoom }: Props): void {
  if (plot.select.width < NARROWEST_DRAG) return;
  const [from, to] = [plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")];
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  zoom([from, to]);
}

/** A colour of the style sheet, for the canvas, which does not know light-dark(). */
function resolved(element: HTMLElement, name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
