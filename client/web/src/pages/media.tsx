// What runs logged besides numbers, side by side, with one slider for the step.
import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { Bones, Empty, Failed } from "../parts/states";
import { numberText } from "../parts/values";
import { useQuery } from "../wire/queries";
import { at, mediaKeys, mediaOf, type Plain, type Shown } from "../wire/media";

export interface MediaRun {
  id: string;
  name: string;
  colour: number;
  attempt: number;
}

const MOST_IMAGES = 24;
const MOST_ROWS = 100;
const MOST_TABLE_BYTES = 20_000_000;

export function Media({ runs }: { runs: readonly MediaRun[] }) {
  const ids = runs.map((run) => run.id);
  const { value: keys, failure } = useQuery(
    `media keys ${ids.join()}`,
    () => mediaKeys(ids),
    (event) => ids.includes(event.runId),
  );
  if (failure) return <Failed failure={failure} />;
  if (!keys) return <Bones />;
  if (!keys.length) {
    return (
      <Empty title="No media">
        <code>{'run.log({"examples": modelyard.Image(array)})'}</code>
      </Empty>
    );
  }
  return (
    <>
      {keys.map((key) => (
        <Lazily key={key} name={key} runs={runs} />
      ))}
    </>
  );
}

function Lazily({ name, runs }: { name: string; runs: readonly MediaRun[] }) {
  const host = useRef<HTMLDivElement>(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && setSeen(true), { rootMargin: "300px" });
    if (host.current) observer.observe(host.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={host} class="media-place">
      {isSeen && <OneKey name={name} runs={runs} />}
    </div>
  );
}

function OneKey({ name, runs }: { name: string; runs: readonly MediaRun[] }) {
  const chosen = useSignal<number | undefined>(undefined);
  const ids = runs.map((run) => run.id);
  const { value, failure } = useQuery(
    `media ${name} of ${ids.join()}`,
    () => Promise.all(ids.map((id) => mediaOf(id, name))),
    (event) => ids.includes(event.runId),
  );
  if (failure) return <Failed failure={failure} />;
  if (!value) return <Bones lines={3} label={`Loading ${name}`} />;
  const steps = [...new Set(value.flat().map((one) => one.step))].sort((a, b) => a - b);
  const last = steps[steps.length - 1];
  if (last === undefined) return null;
  const step = chosen.value ?? last;
  return (
    <section class="sec media-key">
      <div class="sec-head">
        <h2 class="mono">{name}</h2>
        {steps.length > 1 && (
          <label class="row push stepper-in">
            Step
            <input
              type="range"
              min={0}
              max={steps.length - 1}
              value={Math.max(0, steps.findLastIndex((one) => one <= step))}
              aria-valuetext={`step ${step}`}
              onInput={(event) => (chosen.value = steps[Number(event.currentTarget.value)])}
            />
            <output class="num">{step.toLocaleString("en")}</output>
          </label>
        )}
      </div>
      <div class={`media media-${Math.min(runs.length, 4)}`}>
        {runs.map((run, number) => (
          <Figure key={run.id} run={run} shown={at(value[number] ?? [], step)} step={step} named={runs.length > 1} />
        ))}
      </div>
    </section>
  );
}

function Figure({ run, shown, step, named }: { run: MediaRun; shown: Shown | undefined; step: number; named: boolean }) {
  return (
    <figure class={`c${run.colour}`}>
      {named && (
        <figcaption>
          <span class="run-head">
            <i />
            <span class="fold">{run.name}</span>
          </span>
          {shown && shown.step !== step && <span class="small mute">at step {shown.step.toLocaleString("en")}</span>}
        </figcaption>
      )}
      {shown ? <Value run={run} value={shown.value} /> : <p class="mute">nothing yet at this step</p>}
    </figure>
  );
}

function Value({ run, value }: { run: MediaRun; value: Plain }) {
  const map = asMap(value);
  switch (map["_type"]) {
    case "image-file":
      return <Picture run={run} path={text(map["path"])} caption={text(map["caption"])} />;
    case "images/separated":
      return (
        <div class="pictures">
          {asList(map["filenames"])
            .slice(0, MOST_IMAGES)
            .map((path, number) => (
              <Picture key={text(path)} run={run} path={text(path)} caption={text(asList(map["captions"])[number])} />
            ))}
        </div>
      );
    case "histogram":
      return <Histogram counts={asList(map["values"]).map(Number)} borders={asList(map["bins"]).map(Number)} />;
    case "table-file":
      return <TableFile run={run} path={text(map["path"])} rows={Number(map["nrows"])} size={Number(map["size"])} />;
    case "audio-file":
      return <audio controls preload="none" src={href(run, text(map["path"]))} />;
    case "video-file":
      return /\.gif$/i.test(text(map["path"])) ? (
        <Picture run={run} path={text(map["path"])} caption={text(map["caption"])} />
      ) : (
        <video controls preload="none" src={href(run, text(map["path"]))} />
      );
    default:
      return (
        <a class="btn" href={`${href(run, text(map["path"]))}?download=1`} download>
          Download
        </a>
      );
  }
}

function Picture({ run, path, caption }: { run: MediaRun; path: string; caption: string }) {
  return (
    <span class="picture">
      <img src={href(run, path)} alt={caption || path} loading="lazy" />
      {caption && <span class="two">{caption}</span>}
    </span>
  );
}

function Histogram({ counts, borders }: { counts: readonly number[]; borders: readonly number[] }) {
  const most = Math.max(1, ...counts);
  const [first, last] = [borders[0] ?? 0, borders[borders.length - 1] ?? 1];
  return (
    <svg class="plot histogram" height="110" role="img" aria-label={`Histogram from ${numberText(first)} to ${numberText(last)}`}>
      {counts.map((amount, number) => (
        <rect
          key={number}
          class="bar-rect"
          x={`${(number / counts.length) * 100}%`}
          width={`${Math.max(0.1, 100 / counts.length - 0.3)}%`}
          y={`${100 - (amount / most) * 100}%`}
          height={`${(amount / most) * 100}%`}
        >
          <title>{`${numberText(borders[number] ?? 0)} to ${numberText(borders[number + 1] ?? 0)}: ${amount}`}</title>
        </rect>
      ))}
      <text x="0" y="100%" dy="14">
        {numberText(first)}
      </text>
      <text x="100%" y="100%" dy="14" text-anchor="end">
        {numberText(last)}
      </text>
    </svg>
  );
}

function TableFile({ run, path, rows, size }: { run: MediaRun; path: string; rows: number; size: number }) {
  const { value, failure } = useQuery(`table ${run.id} ${path}`, () => readTable(run, path, size), () => false);
  if (failure) return <Failed failure={failure} />;
  if (!value) return <Bones lines={3} />;
  if (!value.columns.length) {
    return (
      <a class="btn" href={`${href(run, path)}?download=1`} download>
        Download {rows.toLocaleString("en")} rows
      </a>
    );
  }
  return (
    <div class="clip box" tabIndex={0} role="region" aria-label="Table">
      <table class="tbl">
        <thead>
          <tr>
            {value.columns.map((column) => (
              <th key={column}>{column}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {value.data.slice(0, MOST_ROWS).map((row, number) => (
            <tr key={number}>
              {row.map((cell, column) => (
                <td key={column} class={typeof cell === "number" ? "num" : ""}>
                  <Cell run={run} value={cell} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {value.data.length > MOST_ROWS && <p class="hint file-foot">The first {MOST_ROWS} of {rows.toLocaleString("en")} rows are shown.</p>}
    </div>
  );
}

function Cell({ run, value }: { run: MediaRun; value: Plain }) {
  if (typeof value === "number") return <>{numberText(value)}</>;
  if (typeof value !== "object" || value === null) return <>{value === null ? "—" : String(value)}</>;
  const map = asMap(value);
  if (map["_type"] === "image-file") return <img class="cell-image" src={href(run, text(map["path"]))} alt="" loading="lazy" />;
  return <span class="mono">{JSON.stringify(value)}</span>;
}

interface Table {
  columns: string[];
  data: Plain[][];
}

async function readTable(run: MediaRun, path: string, size: number): Promise<Table> {
  if (size > MOST_TABLE_BYTES) return { columns: [], data: [] };
  const response = await fetch(href(run, path));
  if (!response.ok) throw new Error(`the table cannot be read (${response.status})`);
  const table = asMap((await response.json()) as Plain);
  return { columns: asList(table["columns"]).map(text), data: asList(table["data"]).map(asList) };
}

function href(run: MediaRun, path: string): string {
  return `/files/run/${run.id}/${run.attempt}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

function asMap(value: Plain | undefined): { [key: string]: Plain } {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

function asList(value: Plain | undefined): Plain[] {
  return Array.isArray(value) ? value : [];
}

function text(value: Plain | undefined): string {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : String(value);
}
