// Follows the runs on the screen that go on: their state, their summary, and that there are new rows.
import { useEffect } from "preact/hooks";
import type { Run } from "../gen/modelyard/v1/run_pb";
import { runs } from "./clients";

const MOST_RUNS = 100;
const WAIT_MS = 3_000;
/** A browser has six connections to a server: tabs beyond these many ask from time to time instead. */
const STREAMS = 2;

/** Calls `changed` with each state of the runs until the view is left or the tab is hidden. */
export function useRunWatch(runIds: readonly string[], changed: (run: Run) => void): void {
  const key = [...runIds].sort().slice(0, MOST_RUNS).join(" ");
  useEffect(() => {
    if (!key) return;
    let stop = new AbortController();
    const begin = () => {
      stop.abort();
      stop = new AbortController();
      if (!document.hidden) void watch(key.split(" "), changed, stop.signal);
    };
    begin();
    document.addEventListener("visibilitychange", begin);
    return () => {
      document.removeEventListener("visibilitychange", begin);
      stop.abort();
    };
  }, [key]);
}

async function watch(ids: readonly string[], changed: (run: Run) => void, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    if (!(await withStream(() => follow(ids, changed, stop)))) await ask(ids, changed, stop);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  }
}

/** Runs `work` if one of the streams of this browser is free; without locks each tab has its own. */
async function withStream(work: () => Promise<void>): Promise<boolean> {
  if (!("locks" in navigator)) return (await work(), true);
  for (let number = 0; number < STREAMS; number += 1) {
    const isDone = await navigator.locks.request(`modelyard-runs ${number}`, { ifAvailable: true }, async (lock) => {
      if (lock) await work();
      return lock !== null;
    });
    if (isDone) return true;
  }
  return false;
}

async function follow(ids: readonly string[], changed: (run: Run) => void, stop: AbortSignal): Promise<void> {
  try {
    for await (const reply of runs.watchRuns({ runs: ids.map((runId) => ({ runId })) }, { signal: stop })) {
      if (reply.run) changed(reply.run);
    }
  } catch {
    // The stream of events says that the server is away; here it is tried again.
  }
}

async function ask(ids: readonly string[], changed: (run: Run) => void, stop: AbortSignal): Promise<void> {
  for (const id of ids) {
    try {
      const { run } = await runs.getRun({ selector: { case: "id", value: id } }, { signal: stop });
      if (run) changed(run);
    } catch {
      return;
    }
  }
}
