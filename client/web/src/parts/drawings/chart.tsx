// A line chart: exact extremes at every zoom, raw lines as shadows of smoothed ones, bands around means.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { numberText } from "../values";
import { hideCrosshair, moveCrosshair } from "./crosshair";

export interface Line {
  id: string;
  name: string;
  /** 1 to 8: the colours of page.css. */
  colour: number;
  isDashed: boolean;
  width: number;
  xs: readonly number[];
  ys: readonly number[];
  /** What is smoothed: the points themselves, or the means of the buckets. */
  smooth: { xs: readonly number[]; ys: readonly number[] };
  /** Around the line, at the xs of `smooth`. */
  band?: { lows: readonly number[]; highs: readonly number[] };
}

interface Props {
  title: string;
  lines: readonly Line[];
  xLabel: string;
  isTime: boolean;
  isLogX: boolean;
  isLogY: boolean;
  /** 0 to 0.99: the weight of the past in the moving average. */
  smoothing: number;
  range: readonly [number, number] | undefined;
  zoom: (range: readonly [number, number] | undefined) => void;
  /** What can be done with the chart. */
  actions?: ComponentChildren;
}

const HEIGHT = 190;
const SHADOW = 0.3;
const BAND = 0.18;
const NARROWEST_DRAG = 4;
/** A line of fewer points is drawn with them. */
const FEW_POINTS = 3;
const LOG_SCALE = 3;
const CURSOR_POINT = 6;
/** Lines whose values are shown at the cursor. */
const MOST_VALUES = 8;

interface Value {
  line: Line;
  y: number;
}

export function Chart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const now = useRef(props);
  now.current = props;
  const [values, setValues] = useState<readonly Value[]>([]);
  const [isAtRight, setAtRight] = useState(false);
  const shape = shapeOf(props);
  useEffect(() => {
    const element = host.current;
    if (!element || !now.current.lines.length) return;
    const show = (found: readonly Value[], atRight: boolean) => {
      setValues(found);
      setAtRight(atRight);
    };
    const made = new uPlot(optionsOf(now, element, show), dataOf(now.current), element);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resized.observe(element);
    return () => {
      plot.current = undefined;
      resized.disconnect();
      made.destroy();
    };
  }, [shape]);
  // New points alone: the drawing stays, and with it the cursor and a selection that is being made.
  useEffect(() => plot.current?.setData(dataOf(now.current)), [props.lines, props.smoothing, props.range]);
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
          {props.actions}
        </span>
      </figcaption>
      <div
        ref={host}
        class="plot-host"
        role="img"
        aria-label={`${props.title} by ${props.xLabel}: ${summary(props.lines)}`}
        tabIndex={0}
        onKeyDown={(event) => {
          if (plot.current && moveCrosshair(plot.current, event.key)) event.preventDefault();
        }}
        onBlur={() => plot.current && hideCrosshair(plot.current)}
      />
      {values.length > 0 && (
        <ul class={`chart-values${isAtRight ? " at-left" : ""}`}>
          {values.map(({ line, y }) => (
            <li key={line.id} class={`c${line.colour}`}>
              <i class="dot-key" />
              <span class="fold">{line.name}</span>
              <b class="num push">{numberText(y)}</b>
            </li>
          ))}
          {props.lines.length > MOST_VALUES && <li class="faint">{`the nearest of ${props.lines.length}`}</li>}
        </ul>
      )}
    </figure>
  );
}

/** What a drawing cannot change afterwards. */
function shapeOf(props: Props): string {
  const lines = props.lines.map((line) => [line.id, line.colour, line.isDashed, line.width, Boolean(line.band)]);
  return JSON.stringify([lines, props.isLogX, props.isLogY, props.isTime, props.smoothing > 0, document.documentElement.dataset["theme"]]);
}

function lastText(line: Line): string {
  const last = line.ys[line.ys.length - 1];
  return last === undefined ? "" : numberText(last);
}

function summary(lines: readonly Line[]): string {
  return lines.map((line) => `${line.name} ends at ${lastText(line)}`).join(", ");
}

/** The series of a line in the order of the data: the edges of its band, its points, what is smoothed of them. */
function tracksOf(line: Line, smoothing: number): { band?: "low" | "high"; isShadow?: boolean; xs: readonly number[]; ys: readonly number[] }[] {
  const { xs } = line.smooth;
  return [
    ...(line.band ? [{ band: "low", xs, ys: line.band.lows } as const, { band: "high", xs, ys: line.band.highs } as const] : []),
    { xs: line.xs, ys: line.ys, isShadow: smoothing > 0 },
    ...(smoothing > 0 ? [{ xs, ys: smoothed(line.smooth.ys, smoothing) }] : []),
  ];
}

function dataOf({ lines, smoothing, isLogX, isLogY }: Props): uPlot.AlignedData {
  const tables = lines.flatMap((line) =>
    tracksOf(line, smoothing).map(({ xs, ys }): uPlot.AlignedData => {
      // A logarithm has no place for what is not above zero.
      const kept = isLogX ? xs.flatMap((x, at) => (x > 0 ? [at] : [])) : xs.map((_, at) => at);
      const shown = (y: number | undefined) => (y === undefined || (isLogY && y <= 0) ? null : y);
      return [kept.map((at) => xs[at] ?? 0), kept.map((at) => shown(ys[at]))];
    }),
  );
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

function seriesOf(props: Props, element: HTMLElement): { series: uPlot.Series[]; bands: uPlot.Band[] } {
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const line of props.lines) {
    const stroke = resolved(element, `--s${line.colour}`);
    for (const track of tracksOf(line, props.smoothing)) {
      if (track.band === "high") bands.push({ series: [series.length, series.length - 1], fill: withAlpha(stroke, BAND) });
      const isEdge = track.band !== undefined;
      series.push({
        stroke,
        width: isEdge ? 0 : track.isShadow ? 1 : line.width,
        alpha: track.isShadow ? SHADOW : 1,
        spanGaps: true,
        points: { show: isEdge || track.isShadow ? false : (plot, number) => countOf(plot.data[number] ?? []) < FEW_POINTS },
        ...(line.isDashed && !isEdge ? { dash: [5, 4] } : {}),
      });
    }
  }
  return { series, bands };
}

/** How many points a series has. */
function countOf(ys: ArrayLike<number | null | undefined>): number {
  let found = 0;
  for (let at = 0; at < ys.length; at += 1) if (ys[at] !== null && ys[at] !== undefined) found += 1;
  return found;
}

function optionsOf(now: { current: Props }, element: HTMLElement, show: (values: readonly Value[], isAtRight: boolean) => void): uPlot.Options {
  const props = now.current;
  const style = getComputedStyle(element);
  const colour = (name: string) => resolved(element, name);
  const axis = { stroke: colour("--text-3"), font: `11px ${style.fontFamily}`, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const ticks = (_plot: uPlot, splits: (number | null)[]) => splits.map((tick) => (tick === null ? "" : numberText(tick)));
  return {
    width: element.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { sync: { key: props.xLabel }, drag: { x: true, y: false, setScale: false, dist: NARROWEST_DRAG }, points: { size: (plot, number) => (plot.series[number]?.width && plot.series[number]?.alpha === 1 ? CURSOR_POINT : 0) } },
    scales: {
      x: { time: props.isTime, distr: props.isLogX ? LOG_SCALE : 1, range: (plot, low, high) => shownRange(now.current, plot, low, high) },
      y: { distr: props.isLogY ? LOG_SCALE : 1 },
    },
    axes: [{ ...axis, size: 26, space: 60, ...(props.isLogX ? { values: ticks } : {}) }, { ...axis, size: 52, values: ticks }],
    ...seriesOf(props, element),
    hooks: {
      setCursor: [(plot) => show(valuesAt(plot, now.current), (plot.cursor.left ?? 0) > plot.over.clientWidth / 2)],
      setSelect: [(plot) => selected(plot, now.current)],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => now.current.zoom(undefined))],
    },
  };
}

function shownRange({ range, isLogX }: Props, _plot: uPlot, low: number, high: number): [number, number] {
  if (range) return isLogX && range[0] <= 0 ? [Math.min(low || 1, range[1]), range[1]] : [...range];
  if (low === null || high === null) return isLogX ? [1, 10] : [0, 1];
  return low === high ? (isLogX ? [low / 2, low * 2] : [low - 1, high + 1]) : [low, high];
}

/** The values of the lines next to the cursor, the largest first. */
function valuesAt(plot: uPlot, { lines, smoothing }: Props): Value[] {
  const { idx: at, top } = plot.cursor;
  if (at === null || at === undefined) return [];
  let last = 0;
  const found = lines.flatMap((line): Value[] => {
    last += tracksOf(line, smoothing).length;
    const y = nearest(plot.data[last] ?? [], at);
    return y === undefined ? [] : [{ line, y }];
  });
  const away = ({ y }: Value) => Math.abs(plot.valToPos(y, "y") - (top ?? 0));
  const near = found.sort((a, b) => away(a) - away(b)).slice(0, MOST_VALUES);
  return near.sort((a, b) => b.y - a.y);
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

function withAlpha(colour: string, alpha: number): string {
  return colour.replace(/^rgb\((.*)\)$/, (_, parts: string) => (parts.includes(",") ? `rgba(${parts}, ${alpha})` : `rgb(${parts} / ${alpha})`));
}
