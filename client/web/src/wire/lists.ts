// Lists that are read page by page, as far as their rows come into sight, and again when an event says that they changed.
import type { Event } from "../gen/modelyard/v1/event_pb";
import { fail, replace, type State, useQuery, valueOf } from "./queries";
import { useCallback, useRef } from "preact/hooks";

export interface Page<T> {
  rows: readonly T[];
  /** The token of the next page; "" on the last. */
  next: string;
  /** How many rows there are on all pages, where the server counted them. */
  total?: number | undefined;
}

export interface Listed<T> {
  rows: readonly T[];
  next: string;
  /** How many rows there are; at least those that were read. */
  total: number;
}

interface Wanted {
  key: string;
  count: number;
}

/** The first page is small, so that it is there at once; the others save calls. */
const FIRST = 100;
const PAGE = 1_000;
const reading = new Set<string>();

/** The rows of a list by `page(token, size)`. `need(n)` reads on until the first n rows are there. */
export function useList<T>(
  key: string,
  page: (token: string, size: number) => Promise<Page<T>>,
  isTouchedBy: (event: Event) => boolean,
): State<Listed<T>> & { need: (count: number) => void } {
  const wanted = useRef<Wanted>({ key, count: FIRST });
  if (wanted.current.key !== key) wanted.current = { key, count: FIRST };
  const read = useRef(page);
  read.current = page;
  const state = useQuery(key, () => readFrom(read.current, wanted.current), isTouchedBy);
  const need = useCallback(
    (count: number) => {
      wanted.current.count = Math.max(wanted.current.count, count);
      void readOn(read.current, wanted.current);
    },
    [key],
  );
  return { ...state, need };
}

async function readFrom<T>(page: (token: string, size: number) => Promise<Page<T>>, wanted: Wanted): Promise<Listed<T>> {
  const first = await page("", wanted.count > FIRST ? PAGE : FIRST);
  let list: Listed<T> = { rows: first.rows, next: first.next, total: Math.max(first.total ?? 0, first.rows.length) };
  while (list.next && list.rows.length < wanted.count) list = joined(list, await page(list.next, PAGE));
  return list;
}

async function readOn<T>(page: (token: string, size: number) => Promise<Page<T>>, wanted: Wanted): Promise<void> {
  if (reading.has(wanted.key)) return;
  reading.add(wanted.key);
  try {
    for (;;) {
      const list = valueOf<Listed<T>>(wanted.key);
      if (!list?.next || list.rows.length >= wanted.count) return;
      const more = joined(list, await page(list.next, PAGE));
      // After a change the list was read anew meanwhile, and this page may not fit it.
      if (valueOf(wanted.key) === list) replace(wanted.key, more);
    }
  } catch (error) {
    fail(wanted.key, error);
  } finally {
    reading.delete(wanted.key);
  }
}

function joined<T>(list: Listed<T>, page: Page<T>): Listed<T> {
  const rows = [...list.rows, ...page.rows];
  return { rows, next: page.next, total: page.next ? Math.max(list.total, rows.length) : rows.length };
}
