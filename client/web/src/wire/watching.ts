// One stream of events for each visible tab: what changes on the server is read again.
import { signal } from "@preact/signals";
import { events } from "./clients";
import { failureOf } from "./failure";
import { touch, touchAll } from "./queries";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

export interface Connection {
  /** Since when the server cannot be reached; undefined while it can. */
  lostAt: Date | undefined;
  /** When it is tried again. */
  nextTry: Date | undefined;
}

export const connection = signal<Connection>({ lostAt: undefined, nextTry: undefined });

let entity = "";
let stopping: AbortController | undefined;
/** Whether events may have been missed since the last ones that arrived. */
let hasGap = false;

/** Follows the events of an entity. A hidden tab follows none: a browser has six connections to a server. */
export function watch(of: string): void {
  if (of === entity) return;
  entity = of;
  restart();
}

export function startWatching(): void {
  document.addEventListener("visibilitychange", restart);
}

function restart(): void {
  if (stopping) hasGap = true;
  stopping?.abort();
  stopping = undefined;
  if (!entity || document.hidden) return;
  stopping = new AbortController();
  void follow(entity, stopping.signal);
}

async function follow(of: string, stop: AbortSignal): Promise<void> {
  let wait = FIRST_WAIT_MS;
  while (!stop.aborted) {
    try {
      for await (const reply of events.watchEvents({ entity: of }, { signal: stop })) {
        if (hasGap) touchAll();
        hasGap = false;
        wait = FIRST_WAIT_MS;
        if (connection.value.lostAt) connection.value = { lostAt: undefined, nextTry: undefined };
        reply.events.forEach(touch);
      }
    } catch (error) {
      if (stop.aborted || !failureOf(error).isAway) return;
    }
    hasGap = true;
    wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    connection.value = { lostAt: connection.value.lostAt ?? new Date(), nextTry: new Date(Date.now() + wait) };
    await pause(wait, stop);
  }
}

function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
