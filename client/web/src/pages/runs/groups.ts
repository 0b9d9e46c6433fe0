// Runs grouped by a column, and what the runs of a group have in common: their number, means and extremes.
import type { Run } from "../../gen/modelyard/v1/run_pb";
import type { Extremes } from "../../wire/samples";
import type { Column } from "./columns";

export interface Group {
  /** The value that the runs share, as it is shown; the group's name in the address. */
  value: string;
  /** For the order of groups. */
  number: number | undefined;
  runs: Run[];
}

export interface Summary {
  count: number;
  mean: number;
  min: number;
  max: number;
}

/** The groups in the order of their values: numbers, then texts, then the runs that lack the key. */
export function groupsOf(runs: readonly Run[], by: Column, extremes: Extremes): Group[] {
  const groups = new Map<string, Group>();
  for (const run of runs) {
    const value = by.text(run, extremes);
    const group = groups.get(value) ?? { value, number: by.number(run, extremes), runs: [] };
    group.runs.push(run);
    groups.set(value, group);
  }
  const rank = (group: Group) => (group.number !== undefined ? 0 : group.value !== "—" ? 1 : 2);
  return [...groups.values()].sort((a, b) => rank(a) - rank(b) || (a.number ?? 0) - (b.number ?? 0) || (a.value < b.value ? -1 : 1));
}

/** Mean and extremes of the finite numbers of a column; undefined where there is none. */
export function summaryOf(runs: readonly Run[], column: Column, extremes: Extremes): Summary | undefined {
  let [count, sum, min, max] = [0, 0, Infinity, -Infinity];
  for (const run of runs) {
    const number = column.number(run, extremes);
    if (number === undefined || !Number.isFinite(number)) continue;
    count += 1;
    sum += number;
    min = Math.min(min, number);
    max = Math.max(max, number);
  }
  return count ? { count, mean: sum / count, min, max } : undefined;
}
