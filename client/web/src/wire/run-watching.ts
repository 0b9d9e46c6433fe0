// Follows the runs on the screen that go on: their state, their summary, and that there are new rows.
import { useEffect } from "preact/hooks";
import type { Run } from "../gen/modelyard/v1/run_pb";
import { runs } from "./clients";

const MOST_RUNS = 100;
const WAIT_MS = 3_000;

/** Calls `changed` with each state of the runs until the view is left or the tab is hidden. */
export function useRunWatch(runIds: readonly string[], changed: (run: Run) => void): void {
  const key = [...runIds].sort().slice(0, MOST_RUNS).join(" ");
  useEffect(() => {
    if (!key) return;
    let stop = new AbortController();
    const begin = () => {
      stop.abort();
      stop = new AbortController();
      if (!document.hidden) void follow(key.split(" "), changed, stop.signal);
    };
    begin();
    document.addEventListener("visibilitychange", begin);
    return () => {
      document.removeEventListener("visibilitychange", begin);
      stop.abort();
    };
  }, [key]);
}

async function follow(ids: readonly string[], changed: (run: Run) => void, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      for await (const reply of runs.watchRuns({ runs: ids.map((runId) => ({ runId })) }, { signal: stop })) {
        if (reply.run) changed(reply.run);
      }
    } catch {
      // The stream of events says that the server is away; here it is tried again.
    }
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  }
}
