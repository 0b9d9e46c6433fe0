// Which run is best, is it still learning, what did the failed one do?
import { MetricStream } from "../../gen/modelyard/v1/metric_pb";
import type { Run } from "../../gen/modelyard/v1/run_pb";
import { FilterField } from "../../parts/fields/filter";
import { SelectionBar, useSelection } from "../../parts/lists/selection";
import { Bones, Empty, Failed } from "../../parts/states";
import { copy, count } from "../../parts/text";
import { hrefs, parameter, setParameters } from "../../routes";
import type { Listed } from "../../wire/lists";
import { Charts } from "../charts/charts";
import { ColumnsMenu } from "./columns-menu";
import { columnOf } from "./columns";
import { drawFirst, isChosen, solo, toggle } from "./drawn";
import { type Lines, useLines } from "./lines";
import { filterFields, type Keys, type Place } from "./reading";
import { type Rows, useRows } from "./rows";
import { RunsTable } from "./table";
import { useView, type View } from "./view";

export function RunsPage({ entity, project }: Place) {
  const view = useView({ entity, project });
  const rows = useRows(view);
  const lines = useLines(view, rows);
  return (
    <main class={`main work runs-work${parameter("show") === "charts" ? " shows-charts" : ""}`}>
      <div class="list">
        <Head view={view} list={rows.list} />
        <List view={view} rows={rows} lines={lines} />
      </div>
      <div class="panes">
        <button type="button" class="btn only-phone" onClick={() => setParameters({ show: "" })}>
          Runs
        </button>
        {isChosen() && (
          <p class="hint row">
            {parameter("solo") ? "Only what was chosen is drawn." : "Not the first ones are drawn, but those that were chosen."}
            <button type="button" class="btn bare small" onClick={drawFirst}>
              Draw the first ones
            </button>
          </p>
        )}
        {lines.drawn.size > 0 && <Charts lines={[...lines.drawn.values()]} stream={MetricStream.HISTORY} definitions={view.newest?.definitions ?? {}} changes={rows.changes} />}
      </div>
    </main>
  );
}

function Head({ view, list }: { view: View; list: Listed<Run> | undefined }) {
  return (
    <div class="head">
      <div>
        <h1>Runs</h1>
        {list && <p>{`${list.total.toLocaleString("en")} in ${view.place.project}${view.filter ? ", filtered" : ""}`}</p>}
      </div>
      <div class="row push">
        <button type="button" class="btn only-phone" onClick={() => setParameters({ show: "charts" })}>
          Charts
        </button>
        <GroupField keys={view.keys} value={view.group?.id ?? ""} />
        <ColumnsMenu
          chosen={view.ids}
          choose={(all) => setParameters({ columns: all.join() })}
          keys={view.keys}
          metrics={view.newest?.metrics ?? []}
          onlyDifferent={parameter("differ") === "1"}
          setOnlyDifferent={(isOn) => setParameters({ differ: isOn ? "1" : "" })}
        />
      </div>
    </div>
  );
}

const GROUPED_BY = ["group", "job_type", "state", "tags", "created_by"];

function GroupField({ keys, value }: { keys: Keys | undefined; value: string }) {
  const ofConfig = (keys?.fields ?? []).map((key) => key.name).filter((name) => name.startsWith("config."));
  const known = new Set([...GROUPED_BY, ...ofConfig, ...(value ? [value] : [])]);
  return (
    <select
      class="in group-field"
      aria-label="Group by"
      value={value}
      onChange={(event) => setParameters({ group: event.currentTarget.value, solo: "", hide: "", draw: "" })}
    >
      <option value="">No groups</option>
      {[...known].map((id) => (
        <option key={id} value={id}>
          {id.startsWith("config.") ? id : (columnOf(id)?.label ?? id)}
        </option>
      ))}
    </select>
  );
}

function List({ view, rows, lines }: { view: View; rows: Rows; lines: Lines }) {
  const { list, failure } = rows;
  const selection = useSelection(rows.runs.map((run) => run.name));
  const { sort, place } = view;
  // The first line says it; those after it show the place, which the field itself does.
  const problem = failure?.reason === "INVALID_FILTER" ? (failure.text.split("\n")[0] ?? "") : "";
  return (
    <>
      <div class="tools">
        <FilterField
          placeholder='state = "finished" AND summary.acc > 0.9'
          value={view.filter}
          change={(text) => setParameters({ filter: text })}
          fields={filterFields(view.keys)}
          problem={problem}
        />
      </div>
      {failure && !problem && <Failed failure={failure} />}
      {!list && !failure && <Bones lines={9} />}
      {list && !list.rows.length && <NoRun filter={view.filter} project={view.place.project} />}
      {list && view.isWhole && <Whole list={list} most={view.most} isGrouped={Boolean(view.group)} />}
      {rows.rows.length > 0 && (
        <div class="clip runs-clip" tabIndex={0} role="region" aria-label="Runs">
          <RunsTable
            {...rows}
            columns={view.columns}
            lines={lines.drawn}
            sort={sort}
            setSort={(id) => setParameters({ sort: `${id}${sort.id === id && sort.isDescending ? "" : " desc"}` })}
            selection={selection}
            toggle={(key) => toggle(key, lines.keys)}
            solo={solo}
          />
        </div>
      )}
      <SelectionBar selection={selection}>
        <a class="btn go" href={hrefs.compare(place.entity, place.project, selection.ids)}>
          Compare
        </a>
        <button type="button" class="btn" onClick={() => void copy(selection.ids.map((name) => `${place.entity}/${place.project}/${name}`).join("\n"))}>
          Copy refs
        </button>
      </SelectionBar>
    </>
  );
}

/** How far the rows were read that the page sorts or groups. */
function Whole({ list, most, isGrouped }: { list: Listed<Run>; most: number; isGrouped: boolean }) {
  const wanted = Math.min(list.total, most);
  if (list.rows.length < wanted) {
    return (
      <p class="hint list-hint" role="status">
        {`Reading ${list.rows.length.toLocaleString("en")} of ${count(wanted, "run")} …`}
      </p>
    );
  }
  if (list.total <= most) return null;
  return <p class="hint list-hint">{`The newest ${count(most, "run")} of ${list.total.toLocaleString("en")} are ${isGrouped ? "grouped" : "sorted"}. A filter chooses others.`}</p>;
}

function NoRun({ filter, project }: { filter: string; project: string }) {
  return (
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
  );
}
