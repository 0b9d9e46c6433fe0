// The rows of runs as text with commas: every row that was logged, or the points of what is drawn.
import type { MetricBatch, MetricColumn, MetricStream } from "../gen/modelyard/v1/metric_pb";
import type { AnyValue } from "../gen/modelyard/v1/value_pb";
import { textOf } from "../parts/values";
import { metrics } from "./samples";

export interface Source {
  id: string;
  name: string;
}

interface Row {
  step: bigint;
  text: string;
}

/** Every row of the runs that has one of the metrics, by run and step. */
export async function everyRow(runs: readonly Source[], keys: readonly string[], stream: MetricStream): Promise<string> {
  const lines = [["run", "step", "timestamp", ...keys].map(cell).join(",")];
  for (const run of runs) {
    const rows: Row[] = [];
    for await (const { batch } of metrics.scanMetricHistory({ runId: run.id, keys: [...keys], stream })) {
      if (batch) rows.push(...rowsOf(batch, run.name, keys));
    }
    // Steps ascend within a message, but messages may overlap.
    rows.sort((a, b) => (a.step < b.step ? -1 : Number(a.step > b.step)));
    for (const row of rows) lines.push(row.text);
  }
  return lines.join("\r\n") + "\r\n";
}

function rowsOf(batch: MetricBatch, name: string, keys: readonly string[]): Row[] {
  const columns = keys.map((key) => {
    const column = batch.columns.find((one) => one.key === key);
    return column ? cellsOf(column, batch.steps.length) : [];
  });
  return batch.steps.map((step, at) => {
    const cells = [cell(name), String(step), String(batch.timestamps[at] ?? ""), ...columns.map((column) => column[at] ?? "")];
    return { step, text: cells.join(",") };
  });
}

/** The cells of a column by the number of the row; those without a point are missing. */
function cellsOf(column: MetricColumn, count: number): string[] {
  const points: readonly (number | bigint | AnyValue)[] = column.doubles.length ? column.doubles : column.ints.length ? column.ints : column.values;
  const cells = new Array<string>(count);
  points.forEach((point, number) => {
    cells[column.rows.length ? (column.rows[number] ?? 0) : number] = typeof point === "object" ? cell(exactText(point)) : String(point);
  });
  return cells;
}

function exactText(value: AnyValue): string {
  return value.kind.case === "doubleValue" ? String(value.kind.value) : textOf(value);
}

/** A cell, in quotes where it has to be. */
export function cell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Has the browser save a text as a file. */
export function save(text: string, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name.replace(/[^\p{L}\p{N}._-]+/gu, "-");
  link.click();
  // The browser reads the address after this call.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
