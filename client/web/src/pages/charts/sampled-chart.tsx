// One chart: reads its metrics when it comes into sight, and again for another range or when rows were added.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { MetricStream, type SampleMetricsResponse } from "../../gen/modelyard/v1/metric_pb";
import { Chart, type Line } from "../../parts/drawings/chart";
import { Menu } from "../../parts/menu";
import { Bones } from "../../parts/states";
import { setParameters } from "../../routes";
import { cell, everyRow, save } from "../../wire/history";
import { type Mean, meansOf, pointsOf, type Range, rangeOfSamples, sample, type Samples } from "../../wire/samples";
import { type Band, meanOfRuns } from "./group-mean";
import type { DrawnLine } from "./lines";
import type { Panel, Part } from "./panels";

/** How the charts of a view are drawn. */
export interface Drawing {
  xAxis: string;
  xLabel: string;
  isLogX: boolean;
  isLogY: boolean;
  smoothing: number;
  band: Band;
  range: Range | undefined;
}

interface Props extends Drawing {
  panel: Panel;
  lines: readonly DrawnLine[];
  stream: MetricStream;
  /** Changes when rows were added. */
  turn: number;
}

/** The stroke tells the split. */
const WIDTHS: Record<Part["split"], number> = { "": 1.75, train: 1.25, val: 2.25 };
const AHEAD = "200px";

export function LazyChart(props: Props) {
  const host = useRef<HTMLDivElement>(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    // Where the charts scroll by themselves, only the second margin has an effect.
    const margins: IntersectionObserverInit & { scrollMargin: string } = { rootMargin: AHEAD, scrollMargin: AHEAD };
    const observer = new IntersectionObserver((entries) => setSeen(entries[entries.length - 1]?.isIntersecting ?? false), margins);
    if (host.current) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={host} class="chart-place">
      {isSeen && <SampledChart {...props} />}
    </div>
  );
}

function SampledChart({ panel, lines, stream, turn, ...drawing }: Props) {
  const { xAxis, range, band } = drawing;
  const [samples, setSamples] = useState<Samples | undefined>(undefined);
  const [problem, setProblem] = useState("");
  const keys = panel.parts.map((part) => part.metric);
  const asked = lines.map((line) => line.runIds.join()).join(" ");
  useEffect(() => {
    let isOver = false;
    read(lines, keys, xAxis, range, stream).then(
      (found) => !isOver && (setSamples(found), setProblem("")),
      (error: unknown) => !isOver && setProblem(error instanceof Error ? error.message : "It could not be read"),
    );
    return () => {
      isOver = true;
    };
  }, [asked, keys.join("\n"), xAxis, range?.join(), stream, turn]);
  const drawn = useMemo(() => (samples ? linesOf(panel, lines, samples, band) : []), [samples, panel, JSON.stringify(lines), band]);
  if (problem) return <p class="hint bad">{problem}</p>;
  if (!samples) return <Bones lines={5} label={`Loading ${panel.title}`} />;
  const file = (what: string) => `${panel.title}-${what}.csv`;
  const actions = [
    { label: "CSV of what is drawn", icon: "download", act: () => save(drawnText(drawn, drawing.xLabel), file("drawn")) },
    { label: "CSV of every row", icon: "download", act: () => void saveRows(lines, keys, stream, file("rows"), setProblem) },
  ];
  return (
    <Chart
      title={panel.title}
      lines={drawn}
      xLabel={drawing.xLabel}
      isTime={xAxis === "_timestamp"}
      isLogX={drawing.isLogX}
      isLogY={drawing.isLogY}
      smoothing={drawing.smoothing}
      range={range}
      zoom={(to) => setParameters({ range: to ? [...to, xAxis].join("~") : "" })}
      actions={<Menu label={panel.title} items={actions} />}
    />
  );
}

/** Of groups the range is asked for first, so that the buckets of their runs are the same. */
async function read(lines: readonly DrawnLine[], keys: readonly string[], xAxis: string, range: Range | undefined, stream: MetricStream): Promise<Samples> {
  const question = { runIds: lines.flatMap((line) => line.runIds), keys, xAxis, range, stream };
  if (range || lines.every((line) => line.runIds.length < 2)) return sample(question);
  const whole = rangeOfSamples(await sample({ ...question, bucketCount: 1 }));
  return whole ? sample({ ...question, range: whole }) : new Map();
}

function linesOf(panel: Panel, lines: readonly DrawnLine[], samples: Samples, band: Band): Line[] {
  return panel.parts.flatMap((part) =>
    lines.flatMap((line): Line[] => {
      const replies = line.runIds.flatMap((id) => samples.get(part.metric)?.get(id) ?? []);
      if (!replies.length) return [];
      const name = part.split ? `${line.name} · ${part.split}` : line.name;
      return [{ id: `${line.id} ${part.split}`, name, colour: line.colour, isDashed: line.isDashed, width: WIDTHS[part.split], ...pointsOfLine(line, replies, band) }];
    }),
  );
}

function pointsOfLine(line: DrawnLine, replies: readonly SampleMetricsResponse[], band: Band): Pick<Line, "xs" | "ys" | "smooth" | "band"> {
  const [first] = replies;
  const isGroup = line.size > 1;
  const means = isGroup || !first ? meanOfRuns(replies, band) : meansOf(first);
  const smooth = columnsOf(means);
  // The spread of one run's buckets is that of its points: a deviation between runs is there only in groups.
  const edges = band === "minmax" || (band && isGroup) ? { band: { lows: means.map((one) => one.low), highs: means.map((one) => one.high) } } : {};
  const points = isGroup || band === "minmax" || !first ? smooth : pointsOf(first);
  return { ...points, smooth, ...edges };
}

function columnsOf(means: readonly Mean[]): { xs: number[]; ys: number[] } {
  return { xs: means.map((one) => one.x), ys: means.map((one) => one.mean) };
}

/** The points of the lines, with the edges of their bands. */
function drawnText(lines: readonly Line[], xLabel: string): string {
  const rows = lines.flatMap((line) =>
    line.xs.map((x, at) => [cell(line.name), x, line.ys[at] ?? "", ...(line.band ? [line.band.lows[at] ?? "", line.band.highs[at] ?? ""] : ["", ""])].join(",")),
  );
  return [["line", cell(xLabel), "value", "low", "high"].join(","), ...rows].join("\r\n") + "\r\n";
}

export async function saveRows(lines: readonly DrawnLine[], keys: readonly string[], stream: MetricStream, name: string, failed: (text: string) => void): Promise<void> {
  const sources = lines.flatMap((line) => line.runIds.map((id) => ({ id, name: line.size > 1 ? `${line.name} ${id}` : line.name })));
  try {
    save(await everyRow(sources, keys, stream), name);
  } catch (error) {
    failed(error instanceof Error ? error.message : "The rows could not be read");
  }
}
