// The least and largest values of metrics, read for the rows that are shown and kept.
import { useEffect, useRef, useState } from "preact/hooks";
import { type Run, RunState } from "../../gen/modelyard/v1/run_pb";
import { type Extremes, extremesOf } from "../../wire/samples";

/** Extremes of these metrics of these runs, as they are read; those of runs that go on again with each `turn`. */
export function useExtremes(metrics: readonly string[], runs: readonly Run[], turn: number): Extremes {
  const [found, setFound] = useState<Extremes>(new Map());
  /** When a metric of a run was read: the turn, or Infinity for a run that has ended. */
  const read = useRef(new Map<string, number>());
  useEffect(() => {
    let isOver = false;
    const name = (metric: string, run: Run) => `${run.id} ${run.attempt} ${metric}`;
    const missing = runs.filter((run) => metrics.some((metric) => (read.current.get(name(metric, run)) ?? -1) < turn));
    if (!missing.length) return;
    void extremesOf(missing.map((run) => run.id), metrics).then(
      (more) => {
        if (isOver) return;
        for (const run of missing) for (const metric of metrics) read.current.set(name(metric, run), run.state === RunState.RUNNING ? turn : Infinity);
        setFound((now) => new Map(metrics.map((metric) => [metric, new Map([...(now.get(metric) ?? []), ...(more.get(metric) ?? [])])])));
      },
      () => undefined, // The list says that the server is away; the next turn reads again.
    );
    return () => {
      isOver = true;
    };
  }, [metrics.join("\n"), runs.map((run) => run.id).join(), turn]);
  return found;
}
