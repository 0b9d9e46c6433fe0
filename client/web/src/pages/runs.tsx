// Which run is best, is it still learning, what did the failed one do?
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { EventType } from "../gen/modelyard/v1/event_pb";
import { MetricStream } from "../gen/modelyard/v1/metric_pb";
import { MetricGoal, type Run, RunState } from "../gen/modelyard/v1/run_pb";
import { FilterField } from "../parts/fields/filter";
import { MoreRows } from "../parts/more";
import { StateMark } from "../parts/run-state";
import { Bones, Empty, Failed } from "../parts/states";
import { Time } from "../parts/text";
import { numberOf, ofMetric, textOf } from "../parts/values";
import { hrefs, parameter, setParameters } from "../routes";
import { runs as service } from "../wire/clients";
import { useQuery } from "../wire/queries";
import { useRunWatch } from "../wire/run-watching";
import { metricNames } from "../wire/samples";
import { Charts, type DrawnRun } from "./charts";

const PAGE = 100;
const DRAWN = 10;
const COLUMNS = 2;
const COLOURS = 8;

export function RunsPage({ entity, project }: { entity: string; project: string }) {
  const pages = useSignal(1);
  const filter = parameter("filter");
  const orderBy = parameter("sort") || "create_time desc";
  const columns = parameter("columns").split(",").filter(Boolean);
  const hidden = new Set(parameter("hide").split(",").filter(Boolean));
  const live = useSignal(new Map<string, Run>());
  const { value: newest } = useQuery(
    `metrics of newest ${entity}/${project}`,
    () => readNewest(entity, project),
    (event) => event.type === EventType.RUN_STATE && event.project === project,
  );
  const shownColumns = columns.length ? columns : (newest?.names ?? []).slice(0, COLUMNS);
  const { value, failure } = useQuery(
    `runs ${entity}/${project} ${filter} ${orderBy} ${shownColumns.join()} ${pages.value}`,
    () => read(entity, project, filter, orderBy, shownColumns, pages.value),
    (event) => event.type === EventType.RUN_STATE && event.entity === entity && event.project === project,
  );
  const rows = (value?.runs ?? []).map((run) => merged(run, live.value.get(run.id)));
  const drawn = useMemo(() => drawnRuns(rows, hidden), [rows.map((run) => run.id).join(), parameter("hide")]);
  const going = rows.filter((run) => run.state === RunState.RUNNING).map((run) => run.id);
  const changes = useSignal(0);
  useRunWatch(going, (run) => {
    live.value = new Map(live.value).set(run.id, run);
    changes.value += 1;
  });
  useEffect(() => {
    live.value = new Map();
  }, [entity, project]);
  const chosen = useSignal<readonly string[]>([]);
  const choose = (name: string, isOn: boolean) => {
    chosen.value = isOn ? [...chosen.value, name] : chosen.value.filter((one) => one !== name);
  };
  const toggle = (id: string) => {
    if (hidden.has(id)) hidden.delete(id);
    else hidden.add(id);
    setParameters({ hide: [...hidden].join() });
  };
  return (
    <main class={`main work runs-work${parameter("show") === "charts" ? " shows-charts" : ""}`}>
      <div class="list">
        <div class="head">
          <div>
            <h1>Runs</h1>
            {value && <p>{`${value.total.toLocaleString("en")} in ${project}`}</p>}
          </div>
          <button type="button" class="btn push only-phone" onClick={() => setParameters({ show: "charts" })}>
            Charts
          </button>
        </div>
        <div class="tools">
          <FilterField placeholder='state = "finished" AND summary.acc > 0.9' value={filter} change={(text) => setParameters({ filter: text })} />
        </div>
        {failure && <Failed failure={failure} />}
        {!value && !failure && <Bones lines={9} />}
        {value && !rows.length && (
          <div class="tools">
            <Empty title={filter ? `No run matches ${filter}` : "No run yet"}>
              {filter ? (
                <button type="button" class="btn" onClick={() => setParameters({ filter: "" })}>
                  Clear the filter
                </button>
              ) : (
                <code>{`modelyard.init(project="${project}")`}</code>
              )}
            </Empty>
          </div>
        )}
        {rows.length > 0 && (
          <div class="clip" tabIndex={0} role="region" aria-label="Runs">
            <RunsTable rows={rows} columns={shownColumns} drawn={drawn} hidden={hidden} toggle={toggle} orderBy={orderBy} goals={newest?.goals ?? {}} chosen={chosen.value} choose={choose} />
            {value?.hasMore && <MoreRows more={() => (pages.value += 1)} />}
          </div>
        )}
        {chosen.value.length > 0 && (
          <div class="pickbar">
            <strong>{chosen.value.length} chosen</strong>
            <button type="button" class="btn bare" onClick={() => (chosen.value = [])}>
              Clear
            </button>
            <a class="btn go push" href={hrefs.compare(entity, project, chosen.value)}>
              Compare
            </a>
          </div>
        )}
      </div>
      <div class="panes">
        <button type="button" class="btn only-phone" onClick={() => setParameters({ show: "" })}>
          Runs
        </button>
        {drawn.length > 0 && <Charts runs={drawn} stream={MetricStream.HISTORY} changes={changes.value} />}
      </div>
    </main>
  );
}

interface TableProps {
  rows: readonly Run[];
  columns: readonly string[];
  drawn: readonly DrawnRun[];
  hidden: ReadonlySet<string>;
  toggle: (id: string) => void;
  orderBy: string;
  goals: Readonly<Record<string, MetricGoal>>;
  chosen: readonly string[];
  choose: (name: string, isOn: boolean) => void;
}

function RunsTable({ rows, columns, drawn, hidden, toggle, orderBy, goals, chosen, choose }: TableProps) {
  const best = new Map(columns.map((column) => [column, bestOf(rows, column, goals[column])]));
  const order = (key: string, label: string, numeric = false) => (
    <th class={numeric ? "num" : ""} aria-sort={orderBy === `${key} desc` ? "descending" : orderBy === key ? "ascending" : undefined}>
      <button type="button" class="sorter" onClick={() => setParameters({ sort: orderBy === `${key} desc` ? key : `${key} desc` })}>
        {label}
      </button>
    </th>
  );
  return (
    <table class="tbl runs-table">
      <thead>
        <tr>
          <th>
            <span class="vh">Choose</span>
          </th>
          <th>
            <span class="vh">Shown in the charts</span>
          </th>
          {order("display_name", "Name")}
          {order("state", "State")}
          {columns.map((column) => order(`summary.${column}`, column, true))}
          {order("create_time", "Begun")}
        </tr>
      </thead>
      <tbody>
        {rows.map((run) => {
          const line = drawn.find((one) => one.id === run.id);
          return (
            <tr key={run.id} aria-selected={chosen.includes(run.name)}>
              <td>
                <input
                  type="checkbox"
                  aria-label={`Choose ${run.displayName}`}
                  checked={chosen.includes(run.name)}
                  onChange={(event) => choose(run.name, event.currentTarget.checked)}
                />
              </td>
              <td>
                <button
                  type="button"
                  class={`eye ${line ? `c${line.colour}` : ""}${hidden.has(run.id) || !line ? " off" : ""}`}
                  aria-pressed={Boolean(line)}
                  aria-label={`Show ${run.displayName} in the charts`}
                  onClick={() => toggle(run.id)}
                >
                  <i />
                </button>
              </td>
              <td>
                <a class="name" href={hrefs.run(run.entity, run.project, run.name)}>
                  {run.displayName}
                </a>
              </td>
              <td>
                <StateMark state={run.state} />
              </td>
              {columns.map((column) => (
                <td class="num" key={column}>
                  {rows.length > 1 && best.get(column) !== undefined && numberOf(ofMetric(run.summary[column])) === best.get(column) && (
                    <span class="tag best">best</span>
                  )}
                  {textOf(ofMetric(run.summary[column]))}
                </td>
              ))}
              <td class="mute">
                <Time at={run.createTime} />
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

/** The best value of a column, by the goal that the run defined for it; without one it is read off the name. */
export function bestOf(rows: readonly Run[], column: string, goal?: MetricGoal): number | undefined {
  const isLess = goal ? goal === MetricGoal.MINIMIZE : /loss|err|mse|mae|rmse|perplexity/i.test(column);
  const numbers = rows.map((run) => numberOf(ofMetric(run.summary[column]))).filter((value): value is number => value !== undefined && Number.isFinite(value));
  if (!numbers.length) return undefined;
  return isLess ? Math.min(...numbers) : Math.max(...numbers);
}

function drawnRuns(rows: readonly Run[], hidden: ReadonlySet<string>): DrawnRun[] {
  return rows
    .filter((run) => !hidden.has(run.id))
    .slice(0, DRAWN)
    .map((run, number) => ({ id: run.id, name: run.displayName, colour: (number % COLOURS) + 1, isDashed: number >= COLOURS }));
}

function merged(run: Run, now: Run | undefined): Run {
  return now && now.attempt >= run.attempt ? { ...run, state: now.state, summary: now.summary, displayName: now.displayName } : run;
}

/** The metrics of the newest run, the likely ones first, and which of their values are better. */
async function readNewest(entity: string, project: string) {
  const { runs } = await service.listRuns({ entity, project, pageSize: 1, readMask: { paths: ["metric_definitions"] } });
  const names = await metricNames(runs.map((run) => run.id), MetricStream.HISTORY);
  const weight = (name: string) => 2 * Number(/val|test|eval/i.test(name)) + Number(/loss|acc|f1|auc|score|err/i.test(name));
  const goals = Object.fromEntries(Object.entries(runs[0]?.metricDefinitions ?? {}).map(([name, one]) => [name, one.goal]));
  return { names: names.sort((a, b) => weight(b) - weight(a)), goals };
}

async function read(entity: string, project: string, filter: string, orderBy: string, columns: readonly string[], pages: number) {
  const paths = ["display_name", "state", "create_time", "attempt", ...columns.map((column) => `summary.${column}`)];
  const runs: Run[] = [];
  let pageToken = "";
  let total = 0;
  do {
    const reply = await service.listRuns({ entity, project, filter, orderBy, pageSize: PAGE, pageToken, readMask: { paths }, countTotal: !pageToken });
    runs.push(...reply.runs);
    total = reply.totalSize === undefined ? total : Number(reply.totalSize);
    pageToken = reply.nextPageToken;
  } while (pageToken && runs.length < pages * PAGE);
  return { runs, total, hasMore: pageToken !== "" };
}
