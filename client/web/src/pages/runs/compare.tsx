// Which run is best, and what was different about it?
import { MetricStream } from "../../gen/modelyard/v1/metric_pb";
import { MetricGoal, type Run } from "../../gen/modelyard/v1/run_pb";
import type { AnyValue } from "../../gen/modelyard/v1/value_pb";
import { StateMark } from "../../parts/run-state";
import { Bones, Empty, Failed } from "../../parts/states";
import { count } from "../../parts/text";
import { flattened, numberOf, textOf } from "../../parts/values";
import { hrefs, parameter, setParameters } from "../../routes";
import { definitionOf } from "../../wire/definitions";
import { useQuery } from "../../wire/queries";
import { Charts } from "../charts/charts";
import { colourOf, lineOfRun } from "../charts/lines";
import { Media } from "../media";
import { readNamed } from "./reading";

const MOST_RUNS = 100;
/** Runs whose media stand side by side. */
const MOST_WITH_MEDIA = 12;
const READ = ["display_name", "state", "attempt", "config", "summary", "metric_definitions"];

export function ComparePage({ entity, project }: { entity: string; project: string }) {
  const names = parameter("runs").split(",").filter(Boolean).slice(0, MOST_RUNS);
  const { value: runs, failure } = useQuery(
    `compare ${entity}/${project} ${names.join()}`,
    () => readNamed({ entity, project }, names, READ),
    (event) => event.project === project && event.runId !== "",
  );
  const found = inOrder(names.flatMap((name) => runs?.find((run) => run.name === name) ?? []), parameter("sort"));
  const baseline = found.find((run) => run.name === parameter("baseline")) ?? found[0];
  const onlyDifferent = parameter("all") !== "1";
  return (
    <main class="main">
      <div class="head">
        <div>
          <h1>{count(names.length, "run")} compared</h1>
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
            <Differences runs={found} names={names} baseline={baseline} onlyDifferent={onlyDifferent} />
          </div>
          <section class="sec sec-gap">
            <h2>Charts</h2>
            <Charts lines={found.map((run) => lineOfRun(run, names.indexOf(run.name)))} stream={MetricStream.HISTORY} definitions={baseline.metricDefinitions} changes={0} />
          </section>
          <section class="sec sec-gap">
            <h2>Media</h2>
            <Media runs={found.slice(0, MOST_WITH_MEDIA).map((run) => ({ id: run.id, name: run.displayName, colour: colourOf(names.indexOf(run.name)).colour, attempt: run.attempt }))} />
          </section>
        </>
      )}
    </main>
  );
}

function Differences({ runs, names, baseline, onlyDifferent }: { runs: readonly Run[]; names: readonly string[]; baseline: Run; onlyDifferent: boolean }) {
  return (
    <table class="tbl cmp" ref={(table) => table?.style.setProperty("--columns", String(runs.length))}>
      <caption class="vh">Config and summary of the runs</caption>
      <thead>
        <tr>
          <th>
            <span class="vh">Key</span>
          </th>
          {runs.map((run) => (
            <th scope="col" key={run.id}>
              <span class={`run-head c${colourOf(names.indexOf(run.name)).colour}`}>
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
        const best = marksBest && runs.length > 1 ? bestOf(tables.map((table) => table.get(key)), key, goalOf(runs, key)) : undefined;
        const field = `${title.toLowerCase()} ${key}`;
        const sort = parameter("sort");
        return (
          <tr key={key}>
            <th scope="row" aria-sort={sort === `${field} desc` ? "descending" : sort === field ? "ascending" : undefined}>
              <button type="button" class="sorter fold" title={`Order the runs by ${key}`} onClick={() => setParameters({ sort: sort === `${field} desc` ? field : `${field} desc` })}>
                {key}
              </button>
            </th>
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

/** The best of values, by the goal that the run defined; without one it is read off the name. */
function bestOf(values: readonly (AnyValue | undefined)[], key: string, goal: MetricGoal | undefined): number | undefined {
  const isLess = goal ? goal === MetricGoal.MINIMIZE : /loss|err|mse|mae|rmse|perplexity/i.test(key);
  const numbers = values.map(numberOf).filter((value): value is number => value !== undefined && Number.isFinite(value));
  if (!numbers.length) return undefined;
  return isLess ? Math.min(...numbers) : Math.max(...numbers);
}

/** The goal of a metric; several values of one, such as `loss.min`, have that of their metric. */
function goalOf(runs: readonly Run[], key: string): MetricGoal | undefined {
  const metric = key.replace(/\.[^.]*$/, "");
  return runs.map((run) => (definitionOf(run.metricDefinitions, key) ?? definitionOf(run.metricDefinitions, metric))?.goal).find((goal) => goal);
}

/** The runs in the order of a value, such as `summary loss.min desc`; those without it last. */
function inOrder(runs: readonly Run[], sort: string): Run[] {
  const isDescending = sort.endsWith(" desc");
  const [, part, key = ""] = /^(config|summary) (.+?)(?: desc)?$/.exec(sort) ?? [];
  if (!part) return [...runs];
  const keyed = runs.map((run) => ({ run, value: new Map(flattened(part === "config" ? run.config : run.summary)).get(key) }));
  const rank = (value: AnyValue | undefined) => (numberOf(value) !== undefined ? 0 : value ? 1 : 2);
  const compare = (a: AnyValue | undefined, b: AnyValue | undefined) => (numberOf(a) ?? 0) - (numberOf(b) ?? 0) || (textOf(a) < textOf(b) ? -1 : Number(textOf(a) > textOf(b)));
  keyed.sort((a, b) => rank(a.value) - rank(b.value) || (isDescending ? -1 : 1) * compare(a.value, b.value));
  return keyed.map((one) => one.run);
}

function summary(runs: readonly Run[], baseline: Run): string {
  const base = new Map(flattened(baseline.config));
  const keys = new Set(runs.flatMap((run) => flattened(run.config).map(([key]) => key)));
  const different = [...keys].filter((key) => runs.some((run) => textOf(new Map(flattened(run.config)).get(key)) !== textOf(base.get(key))));
  return `${different.length} of ${keys.size} config values differ.`;
}
