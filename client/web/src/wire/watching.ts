// The stream of events: what changes on the server is read again. A browser has six connections to a server over
// HTTP/1.1, so one of the visible tabs follows the stream and tells the others.
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { signal } from "@preact/signals";
import { type Event, EventSchema } from "../gen/modelyard/v1/event_pb";
import { events } from "./clients";
import { failureOf } from "./failure";
import { now, touch, touchAll } from "./queries";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

export interface Connection {
  /** Since when the server cannot be reached; undefined while it can. */
  lostAt: Date | undefined;
  /** When it is tried again. */
  nextTry: Date | undefined;
}

export const connection = signal<Connection>({ lostAt: undefined, nextTry: undefined });

/** What the tab that follows the stream tells the others. */
type News = { entity: string } & ({ kind: "events"; events: Uint8Array[] } | { kind: "gap"; until: number } | ({ kind: "connection" } & Connection));

const channel = new BroadcastChannel("modelyard-events");
let entity = "";
let stopping: AbortController | undefined;
/** Whether this tab may have missed events, since it was hidden or nobody followed the stream. */
let hasGap = false;
let tellFollowed: () => void = () => undefined;
const followed = new Promise<void>((resolve) => (tellFollowed = resolve));

/**
 * Resolves once a tab follows the stream, or after some milliseconds. What is begun to be read then need not be read again
 * when the stream begins.
 */
export function whenFollowed(most: number): Promise<void> {
  return Promise.race([followed, new Promise<void>((resolve) => setTimeout(resolve, most))]);
}

/** Follows the events of an entity. A hidden tab follows none. */
export function watch(of: string): void {
  if (of === entity) return;
  entity = of;
  restart();
}

export function startWatching(): void {
  document.addEventListener("visibilitychange", restart);
  channel.addEventListener("message", (message: MessageEvent<News>) => {
    if (message.data.entity === entity && !document.hidden) take(message.data);
  });
}

function take(news: News): void {
  if (news.kind === "events") news.events.forEach((event) => touch(fromBinary(EventSchema, event)));
  else if (news.kind === "gap") touchAll(news.until);
  else connection.value = { lostAt: news.lostAt, nextTry: news.nextTry };
}

function tell(news: News): void {
  channel.postMessage(news); // reaches the other tabs only
  take(news);
}

function restart(): void {
  if (stopping) hasGap = true;
  stopping?.abort();
  stopping = undefined;
  if (!entity || document.hidden) return;
  if (hasGap) touchAll();
  hasGap = false;
  stopping = new AbortController();
  void lead(entity, stopping.signal);
}

/** Follows the stream as long as no other tab does. Without locks, which plain HTTP lacks, each tab follows its own. */
async function lead(of: string, stop: AbortSignal): Promise<void> {
  if (!("locks" in navigator)) return follow(of, stop);
  try {
    const name = `modelyard-events ${of}`;
    if ((await navigator.locks.query()).held?.some((lock) => lock.name === name)) tellFollowed();
    await navigator.locks.request(name, { signal: stop }, () => follow(of, stop));
  } catch {
    // This tab was hidden or shows another entity now: it does not wait any more.
  }
}

async function follow(of: string, stop: AbortSignal): Promise<void> {
  let wait = FIRST_WAIT_MS;
  let isAfterGap = true; // the tab that followed the stream before this one may have ended at any event
  while (!stop.aborted) {
    try {
      for await (const reply of events.watchEvents({ entity: of }, { signal: stop })) {
        if (isAfterGap) tell({ entity: of, kind: "gap", until: now() });
        tellFollowed();
        if (connection.value.lostAt) tell({ entity: of, kind: "connection", lostAt: undefined, nextTry: undefined });
        isAfterGap = false;
        wait = FIRST_WAIT_MS;
        if (reply.events.length) tell({ entity: of, kind: "events", events: reply.events.map(encoded) });
      }
    } catch (error) {
      if (stop.aborted || !failureOf(error).isAway) return;
    }
    if (stop.aborted) return;
    isAfterGap = true;
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    tell({ entity: of, kind: "connection", lostAt: connection.value.lostAt ?? new Date(), nextTry: new Date(Date.now() + wait) });
    await pause(wait, stop);
  }
}

function encoded(event: Event): Uint8Array {
  return toBinary(EventSchema, event);
}

function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
