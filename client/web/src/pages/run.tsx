// One run: how it goes, what went in and came out, its console.
import { MetricStream } from "../gen/modelyard/v1/metric_pb";
import { type Run, RunState } from "../gen/modelyard/v1/run_pb";
import { useSignal } from "@preact/signals";
import { StateMark } from "../parts/run-state";
import { useVisit } from "../parts/kept/recent";
import { Bones, Failed } from "../parts/states";
import { Tabs } from "../parts/tabs";
import { Copied, Time } from "../parts/text";
import { flattened, textOf } from "../parts/values";
import { hrefs, RUN_TABS, type RunTab } from "../routes";
import { runs } from "../wire/clients";
import { useQuery } from "../wire/queries";
import { useRunWatch } from "../wire/run-watching";
import { Charts } from "./charts/charts";
import { lineOfRun } from "./charts/lines";
import { Console } from "./console";
import { Media } from "./media";

const TAB_NAMES: Record<RunTab, string> = { charts: "Charts", overview: "Overview", media: "Media", system: "System", console: "Console" };

interface Props {
  entity: string;
  project: string;
  name: string;
  tab: RunTab;
}

export function RunPage({ entity, project, name, tab }: Props) {
  const ref = `${entity}/${project}/${name}`;
  const changes = useSignal(0);
  const { value: found, failure } = useQuery(
    `run ${ref}`,
    async () => (await runs.getRun({ selector: { case: "ref", value: ref } })).run,
    (event) => event.entity === entity && event.project === project && event.runId !== "",
  );
  const now = useSignal<Run | undefined>(undefined);
  useRunWatch(found?.state === RunState.RUNNING ? [found.id] : [], (run) => {
    now.value = run;
    changes.value += 1;
  });
  const run = now.value?.id === found?.id ? (now.value ?? found) : found;
  useVisit(run && { kind: "run", title: run.displayName, second: ref, href: hrefs.run(entity, project, name) });
  if (!run) return <main class="main">{failure ? <Failed failure={failure} /> : <Bones lines={9} />}</main>;
  const drawn = [lineOfRun(run, 0)];
  return (
    <main class="main">
      <div class="head">
        <div>
          <div class="row">
            <h1>{run.displayName}</h1>
            <StateMark state={run.state} />
            {run.tags.map((tag) => (
              <span class="tag" key={tag}>
                {tag}
              </span>
            ))}
          </div>
          <p>
            {run.notes && `${run.notes} · `}
            <Copied text={ref} shown={`${project}/${name}`} /> · <Time at={run.createTime} />, by {run.createdBy}
          </p>
        </div>
      </div>
      <Tabs
        label={run.displayName}
        at={tab}
        tabs={RUN_TABS.map((one) => ({ key: one, href: hrefs.run(entity, project, name, one), content: TAB_NAMES[one] }))}
      />
      <div role="tabpanel" aria-label={TAB_NAMES[tab]}>
        {tab === "charts" && <Charts lines={drawn} stream={MetricStream.HISTORY} definitions={run.metricDefinitions} changes={changes.value} />}
        {tab === "media" && <Media runs={[{ id: run.id, name: run.displayName, colour: 1, attempt: run.attempt }]} />}
        {tab === "system" && <Charts lines={drawn} stream={MetricStream.SYSTEM} changes={changes.value} />}
        {tab === "console" && <Console runId={run.id} isRunning={run.state === RunState.RUNNING} />}
        {tab === "overview" && (
          <div class="cols">
            <div>
              <Values title="Config" values={run.config} none="No config. modelyard.init(config={…}) sets it." />
              <Values title="Environment" values={run.metadata} none="" />
            </div>
            <div>
              <Values title="Summary" values={run.summary} none="Nothing was logged yet." />
            </div>
          </div>
        )}
      </div>
    </main>
  );
}

const MOST_VALUES = 500;

function Values({ title, values, none }: { title: string; values: Parameters<typeof flattened>[0]; none: string }) {
  const rows = flattened(values).filter(([key]) => !key.startsWith("_"));
  if (!rows.length && !none) return null;
  return (
    <section class="sec">
      <h2>{title}</h2>
      {!rows.length && <p class="mute">{none}</p>}
      <dl class="kv">
        {rows.slice(0, MOST_VALUES).map(([key, value]) => (
          <>
            <dt class="mono fold" title={key}>
              {key}
            </dt>
            <dd class="mono">{textOf(value)}</dd>
          </>
        ))}
      </dl>
      {rows.length > MOST_VALUES && <p class="hint">and {(rows.length - MOST_VALUES).toLocaleString("en")} more</p>}
    </section>
  );
}
