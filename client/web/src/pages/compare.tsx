// Which run is best, and what was different about it?
import { type Run, type MetricGoal } from "../gen/modelyard/v1/run_pb";
import { MetricStream } from "../gen/modelyard/v1/metric_pb";
import { StateMark } from "../parts/run-state";
import { Bones, Empty, Failed } from "../parts/states";
import { flattened, numberOf, textOf } from "../parts/values";
import { hrefs, parameter, setParameters } from "../routes";
import { runs as service } from "../wire/clients";
import { useQuery } from "../wire/queries";
import { Charts } from "./charts";
import { Media } from "./media";
import { bestOf } from "./runs";

const COLOURS = 8;
const MOST_RUNS = 12;

export function ComparePage({ entity, project }: { entity: string; project: string }) {
  const names = parameter("runs").split(",").filter(Boolean).slice(0, MOST_RUNS);
  const { value: runs, failure } = useQuery(
    `compare ${entity}/${project} ${names.join()}`,
    () => Promise.all(names.map(async (name) => (await service.getRun({ selector: { case: "ref", value: `${entity}/${project}/${name}` } })).run)),
    (event) => event.project === project && event.runId !== "",
  );
  const found = (runs ?? []).filter((run) => run !== undefined);
  const baseline = found.find((run) => run.name === parameter("baseline")) ?? found[0];
  const onlyDifferent = parameter("all") !== "1";
  return (
    <main class="main">
      <div class="head">
        <div>
          <h1>{names.length} runs compared</h1>
          {baseline && <p>{summary(found, baseline)}</p>}
        </div>
        <div class="row push">
          <a class="btn" href={hrefs.runs(entity, project)}>
            Choose others
          </a>
        </div>
      </div>
      {failure && <Failed failure={failure} />}
      {!runs && !failure && <Bones />}
      {runs && !baseline && <Empty title="No run is chosen">Tick runs in the table of the project.</Empty>}
      {baseline && (
        <>
          <div class="tools">
            <label class="row">
              Baseline
              <select class="in" value={baseline.name} onChange={(event) => setParameters({ baseline: event.currentTarget.value })}>
                {found.map((run) => (
                  <option key={run.id} value={run.name}>
                    {run.displayName}
                  </option>
                ))}
              </select>
            </label>
            <label class="row">
              <input type="checkbox" checked={onlyDifferent} onChange={(event) => setParameters({ all: event.currentTarget.checked ? "" : "1" })} />
              Only what differs
            </label>
            <span class="hint push no-phone">On grey, in bold: not as in the baseline.</span>
          </div>
          <div class="clip cmp-room" tabIndex={0} role="region" aria-label="Differences">
            <Differences runs={found} baseline={baseline} onlyDifferent={onlyDifferent} />
          </div>
          <section class="sec sec-gap">
            <h2>Charts</h2>
            <Charts
              runs={found.map((run, number) => ({ id: run.id, name: run.displayName, ...colourOf(number) }))} stream={MetricStream.HISTORY}
              changes={0}
            />
          </section>
          <section class="sec sec-gap">
            <h2>Media</h2>
            <Media runs={found.map((run, number) => ({ id: run.id, name: run.displayName, colour: colourOf(number).colour, attempt: run.attempt }))} />
          </section>
        </>
      )}
    </main>
  );
}

function colourOf(number: number) {
  return { colour: (number % COLOURS) + 1, isDashed: number >= COLOURS };
}

function Differences({ runs, baseline, onlyDifferent }: { runs: readonly Run[]; baseline: Run; onlyDifferent: boolean }) {
  return (
    <table class="tbl cmp">
      <caption class="vh">Config and summary of the runs</caption>
      <thead>
        <tr>
          <th>
            <span class="vh">Key</span>
          </th>
          {runs.map((run, number) => (
            <th scope="col" key={run.id}>
              <span class={`run-head c${colourOf(number).colour}`}>
                <i />
                <a class="quiet fold" href={hrefs.run(run.entity, run.project, run.name)}>
                  {run.displayName}
                </a>
              </span>
              <StateMark state={run.state} />
            </th>
          ))}
        </tr>
      </thead>
      <Group title="Config" runs={runs} baseline={baseline} values={(run) => run.config} onlyDifferent={onlyDifferent} />
      <Group title="Summary" runs={runs} baseline={baseline} values={(run) => run.summary} onlyDifferent={false} marksBest />
    </table>
  );
}

interface GroupProps {
  title: string;
  runs: readonly Run[];
  baseline: Run;
  values: (run: Run) => Run["config"];
  onlyDifferent: boolean;
  marksBest?: boolean;
}

function Group({ title, runs, baseline, values, onlyDifferent, marksBest }: GroupProps) {
  const tables = runs.map((run) => new Map(flattened(values(run))));
  const keys = [...new Set(tables.flatMap((table) => [...table.keys()]))].filter((key) => !key.startsWith("_")).sort();
  const differs = (key: string) => new Set(tables.map((table) => textOf(table.get(key)))).size > 1;
  const different = keys.filter(differs);
  const shown = onlyDifferent ? different : keys;
  const base = new Map(flattened(values(baseline)));
  return (
    <tbody>
      <tr class="grp">
        <th scope="rowgroup" colSpan={runs.length + 1}>
          {title}{" "}
          <span class="faint num">
            {different.length} of {keys.length} differ
          </span>
        </th>
      </tr>
      {shown.map((key) => {
        const best = marksBest && runs.length > 1 ? bestOf(runs, key, goalOf(runs, key)) : undefined;
        return (
          <tr key={key}>
            <th scope="row">{key}</th>
            {tables.map((table, number) => {
              const value = table.get(key);
              const isBest = best !== undefined && differs(key) && numberOf(value) === best;
              const isChanged = !marksBest && textOf(value) !== textOf(base.get(key));
              return (
                <td key={runs[number]?.id} class={`mono${isChanged ? " chg" : ""}`}>
                  {isBest ? <strong>{textOf(value)}</strong> : textOf(value)} {isBest && <span class="tag best">best</span>}
                </td>
              );
            })}
          </tr>
        );
      })}
    </tbody>
  );
}

function goalOf(runs: readonly Run[], key: string): MetricGoal | undefined {
  return runs.map((run) => run.metricDefinitions[key]?.goal).find((goal) => goal);
}

function summary(runs: readonly Run[], baseline: Run): string {
  const base = new Map(flattened(baseline.config));
  const keys = new Set(runs.flatMap((run) => flattened(run.config).map(([key]) => key)));
  const different = [...keys].filter((key) => runs.some((run) => textOf(new Map(flattened(run.config)).get(key)) !== textOf(base.get(key))));
  return `${different.length} of ${keys.size} config values differ.`;
}
