// What was read from the server: kept by key, and read again when an event says that it changed.
import { type Signal, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Event } from "../gen/modelyard/v1/event_pb";
import { type Failure, failureOf } from "./failure";

export interface State<T> {
  value: T | undefined;
  failure: Failure | undefined;
}

interface Query {
  state: Signal<State<unknown>>;
  load: () => Promise<unknown>;
  isTouchedBy: (event: Event) => boolean;
  users: number;
  isStale: boolean;
  loading: number;
  /** When the last reading began, by `now`. */
  begunAt: number;
  lastUsed: number;
}

const MOST_KEPT = 200;
const TOGETHER_MS = 120; // events come in groups: one reading for all of them
const queries = new Map<string, Query>();
let flushing: ReturnType<typeof setTimeout> | undefined;

/** What `load` gave for this key; loads it again after events that `isTouchedBy` accepts. */
export function useQuery<T>(key: string, load: () => Promise<T>, isTouchedBy: (event: Event) => boolean): State<T> {
  const query = queryOf(key, load, isTouchedBy);
  useEffect(() => {
    query.users += 1;
    if (query.isStale) void reload(query);
    return () => {
      query.users -= 1;
      query.lastUsed = performance.now();
      forgetOldest();
    };
  }, [query]);
  return query.state.value as State<T>;
}

function queryOf<T>(key: string, load: () => Promise<T>, isTouchedBy: (event: Event) => boolean): Query {
  const known = queries.get(key);
  if (known) {
    known.load = load;
    return known;
  }
  const made: Query = {
    state: signal({ value: undefined, failure: undefined }),
    load,
    isTouchedBy,
    users: 0,
    isStale: true,
    loading: 0,
    begunAt: 0,
    lastUsed: performance.now(),
  };
  queries.set(key, made);
  return made;
}

async function reload(query: Query): Promise<void> {
  query.isStale = false;
  const turn = ++query.loading;
  query.begunAt = now();
  try {
    const value = await query.load();
    if (turn === query.loading) query.state.value = { value, failure: undefined };
  } catch (error) {
    if (turn === query.loading) query.state.value = { value: query.state.value.value, failure: failureOf(error) };
    query.isStale = true;
  }
}

/** What was read for a key; undefined while nothing is. */
export function valueOf<T>(key: string): T | undefined {
  return queries.get(key)?.state.value.value as T | undefined;
}

/** Shows more than was read for a key, such as the next page of a list. */
export function replace(key: string, value: unknown): void {
  const query = queries.get(key);
  if (query) query.state.value = { value, failure: undefined };
}

/** Shows that more could not be read for a key; what was read stays. */
export function fail(key: string, error: unknown): void {
  const query = queries.get(key);
  if (query) query.state.value = { value: query.state.value.value, failure: failureOf(error) };
}

/** Marks what an event changed. What is on the screen is read again, the rest when it is shown. */
export function touch(event: Event): void {
  for (const query of queries.values()) {
    if (query.isTouchedBy(event)) query.isStale = true;
  }
  flushing ??= setTimeout(flush, TOGETHER_MS);
}

/**
 * Reads again what is on the screen: after a gap in the events, or a change by this page. What was begun to be read after
 * a time by `now` stays.
 */
export function touchAll(until = Infinity): void {
  for (const query of queries.values()) {
    if (query.begunAt <= until) query.isStale = true;
  }
  flush();
}

/** Milliseconds by a clock that never goes back, and is the same in all tabs. */
export function now(): number {
  return performance.timeOrigin + performance.now();
}

function flush(): void {
  clearTimeout(flushing);
  flushing = undefined;
  for (const query of queries.values()) {
    if (query.isStale && query.users) void reload(query);
  }
}

function forgetOldest(): void {
  if (queries.size <= MOST_KEPT) return;
  const unused = [...queries].filter(([, query]) => !query.users).sort(([, a], [, b]) => a.lastUsed - b.lastUsed);
  for (const [key] of unused.slice(0, queries.size - MOST_KEPT)) queries.delete(key);
}
