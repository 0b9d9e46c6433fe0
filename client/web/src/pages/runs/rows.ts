// The rows of the table of runs: read from the server, kept as they are now, sorted and grouped.
import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Run, RunState } from "../../gen/modelyard/v1/run_pb";
import type { Failure } from "../../wire/failure";
import { type Listed, useList } from "../../wire/lists";
import { useLast, useThrottled } from "../../wire/pacing";
import { useQuery } from "../../wire/queries";
import { useRunWatch } from "../../wire/run-watching";
import type { Extremes } from "../../wire/samples";
import { sorted } from "./columns";
import { useExtremes } from "./extremes";
import { type Group, groupsOf } from "./groups";
import { isLessBetter, readBest, readPage } from "./reading";
import { MOST_BY_METRIC, type View } from "./view";

/** A row: a run, or a group with the runs in it. */
export type Row = { key: string; group: Group; isOpen: boolean } | { key: string; group?: undefined; run: Run; inGroup: boolean };

export interface Rows {
  list: Listed<Run> | undefined;
  failure: Failure | undefined;
  rows: readonly Row[];
  /** How many rows there are, read or not. */
  total: number;
  need: (count: number) => void;
  runs: readonly Run[];
  groups: readonly Group[] | undefined;
  extremes: Extremes;
  /** The best value of each result among all runs that match. */
  best: ReadonlyMap<string, number>;
  /** Counts what was heard of runs that go on. */
  changes: number;
  /** Opens a group, and closes one that is open. */
  open: (value: string) => void;
}

/** Rows whose extremes are read: those in the document and some before them. */
const ROWS_READ = 150;
const EXTREMES_AGAIN_MS = 2_000;
const BEST_AGAIN_MS = 10_000;
const TOGETHER_MS = 200;
const NONE: readonly Run[] = [];

export function useRows(view: View): Rows {
  const { place, filter, orderBy, paths, sort, sortedBy, isWhole, most, group, touches } = view;
  const query = `runs ${place.entity}/${place.project} ${filter} ${orderBy}`;
  const state = useList(`${query} ${paths.join()}`, (token, size) => readPage(place, filter, orderBy, paths, token, size), touches);
  const list = useShown(state, query);
  const { runs: now, changes } = useLive(list?.rows ?? NONE, query);
  const [seenTo, setSeenTo] = useState(0);
  const { need, isMeasured, metrics } = useNeeds(view, state, setSeenTo);
  const measured = isWhole ? now.slice(0, MOST_BY_METRIC) : now.slice(Math.max(0, seenTo - ROWS_READ), seenTo);
  const extremes = useExtremes(metrics, isMeasured ? measured : [], useThrottled(changes, EXTREMES_AGAIN_MS));
  const runs = useMemo(() => {
    const some = isWhole ? now.slice(0, most) : now;
    return sortedBy ? sorted(some, sortedBy, sort.isDescending, extremes) : some;
  }, [now, isWhole, most, sortedBy?.id, sort.isDescending, extremes]);
  const groups = useMemo(() => group && groupsOf(runs, group, extremes), [runs, group?.id, extremes]);
  const opened = useSignal<ReadonlySet<string>>(new Set());
  const rows = groups ? groups.flatMap((one) => rowsOf(one, opened.value.has(one.value))) : runs.map((run): Row => ({ key: run.id, run, inGroup: false }));
  return {
    list,
    failure: state.failure,
    rows,
    total: isWhole ? rows.length : Math.max(list?.total ?? 0, rows.length),
    need,
    runs,
    groups,
    extremes,
    best: useBest(view, changes),
    changes,
    open: (value) => {
      const next = new Set(opened.value);
      if (!next.delete(value)) next.add(value);
      opened.value = next;
    },
  };
}

/** The rows that were read. Those before stay while those with a new column are read, and where a filter is refused. */
function useShown({ value, failure }: ReturnType<typeof useList<Run>>, query: string): Listed<Run> | undefined {
  const before = useRef<{ query: string; list: Listed<Run> } | undefined>(undefined);
  if (value) before.current = { query, list: value };
  const stays = before.current?.query === query || failure?.reason === "INVALID_FILTER";
  return value ?? (stays ? before.current?.list : undefined);
}

/** Reads as far as the rows are in sight, or all of them where the page sorts or groups. */
function useNeeds({ isWhole, most, columns, sortedBy }: View, state: ReturnType<typeof useList<Run>>, setSeenTo: (end: number) => void) {
  const metrics = [...new Set([...columns, ...(sortedBy ? [sortedBy] : [])].map((column) => column.metric).filter(Boolean))];
  const isMeasured = metrics.length > 0;
  const { value, need: read } = state;
  useEffect(() => {
    if (isWhole && value) read(Math.min(value.total, most));
  }, [isWhole, value, read, most]);
  const need = useCallback(
    (end: number) => {
      if (isMeasured) setSeenTo(end);
      if (!isWhole) read(end);
    },
    [isMeasured, isWhole, read],
  );
  return { need, isMeasured, metrics };
}

function rowsOf(group: Group, isOpen: boolean): Row[] {
  return [{ key: `group ${group.value}`, group, isOpen }, ...(isOpen ? group.runs.map((run): Row => ({ key: run.id, run, inGroup: true })) : [])];
}

function useBest(view: View, changes: number): ReadonlyMap<string, number> {
  const results = view.columns.filter((column) => column.isResult);
  const definitions = view.newest?.definitions ?? {};
  const turn = useThrottled(changes, BEST_AGAIN_MS);
  const { place, filter, touches } = view;
  const key = `best ${place.entity}/${place.project} ${filter} ${results.map((column) => `${column.id} ${isLessBetter(column, definitions)}`).join()}`;
  return useLast(useQuery(`${key} ${turn}`, () => readBest(place, filter, results, definitions), touches).value, key) ?? new Map();
}

/** The runs as they are now: what goes on is followed. */
function useLive(runs: readonly Run[], query: string): { runs: readonly Run[]; changes: number } {
  const live = useSignal<ReadonlyMap<string, Run>>(new Map());
  const changes = useSignal(0);
  const going = runs.filter((run) => run.state === RunState.RUNNING).map((run) => run.id);
  const heard = useRef(new Map<string, Run>());
  useRunWatch(going, (run) => {
    // Many runs may report at once: the rows are rendered once for all of them.
    if (!heard.current.size) {
      setTimeout(() => {
        live.value = new Map([...live.value, ...heard.current]);
        heard.current.clear();
        changes.value += 1;
      }, TOGETHER_MS);
    }
    heard.current.set(run.id, run);
  });
  useEffect(() => {
    live.value = new Map();
  }, [query]);
  const now = useMemo(() => (live.value.size ? runs.map((run) => merged(run, live.value.get(run.id))) : runs), [runs, live.value]);
  return { runs: now, changes: changes.value };
}

function merged(run: Run, now: Run | undefined): Run {
  if (!now || now.attempt < run.attempt) return run;
  const { state, summary, displayName, lastStep } = now;
  const times = { ...(now.heartbeatTime && { heartbeatTime: now.heartbeatTime }), ...(now.finishTime && { finishTime: now.finishTime }) };
  return { ...run, state, summary, displayName, ...(lastStep === undefined ? {} : { lastStep }), ...times };
}
