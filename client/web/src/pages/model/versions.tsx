// The versions of a registered model: those that match the filter of the address, the newest first.
import type { RegisteredModel, RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../../parts/alias";
import { FilterField } from "../../parts/fields/filter";
import { selectable, SelectBox, type Selection, useSelection } from "../../parts/lists/selection";
import { Bones, Empty, Failed } from "../../parts/states";
import { bytes, Time } from "../../parts/text";
import { numberText } from "../../parts/values";
import { Windowed } from "../../parts/windowed";
import { hrefOfRef, hrefs, parameter, setParameters } from "../../routes";
import { registry, requestId } from "../../wire/clients";
import { ChosenVersions } from "../chosen-versions";
import { type Metric, useVersions } from "./metric";

const FILTERED_FROM = 5;
const ROW = 36;

export function Versions({ model, metric }: { model: RegisteredModel; metric: Metric }) {
  const filter = parameter("filter");
  const { value, failure, need } = useVersions(model, filter);
  const clear = () => setParameters({ filter: "" });
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>Versions</h2>
        <span class="faint num">{Number(model.versionCount).toLocaleString("en")}</span>
      </div>
      {(model.versionCount > FILTERED_FROM || filter) && (
        <div class="tools">
          <FilterField placeholder='aliases : "production" OR source.metadata.acc > 0.9' value={filter} change={(text) => setParameters({ filter: text })} />
          {filter && value && <span class="hint">{value.next ? `${value.rows.length} and more` : `${value.rows.length} found`}</span>}
        </div>
      )}
      {failure && <Failed failure={failure} />}
      {!value && !failure && <Bones />}
      {value && !value.rows.length && !filter && <Empty title="No version yet">Link new version puts the first one here.</Empty>}
      {value && !value.rows.length && filter && (
        <Empty title={`No version matches ${filter}`}>
          <button type="button" class="btn" onClick={clear}>
            Clear the filter
          </button>
        </Empty>
      )}
      {value && value.rows.length > 0 && <Table model={model} rows={value.rows} total={value.total} need={need} metric={metric} />}
    </section>
  );
}

interface TableProps {
  model: RegisteredModel;
  rows: readonly RegisteredModelVersion[];
  total: number;
  need: (count: number) => void;
  metric: Metric;
}

function Table({ model, rows, total, need, metric }: TableProps) {
  const columns = metric.name ? 9 : 8;
  const selection = useSelection(rows.map((version) => version.id));
  return (
    <>
      <div class="box clip" tabIndex={0} role="region" aria-label="Versions">
        <table class="tbl fold-up line ticked">
          <Head metric={metric} />
          <Windowed
            as="tbody"
            columns={columns}
            count={Math.max(total, rows.length)}
            height={ROW}
            need={need}
            row={(index) => {
              const version = rows[index];
              if (!version) return <Waiting key={index} columns={columns} />;
              return <VersionRow key={version.id} version={version} metric={metric} selection={selection} />;
            }}
          />
        </table>
      </div>
      <ChosenVersions
        chosen={rows.filter((version) => selection.has(version.id))}
        selection={selection}
        compare={({ number }) => hrefs.link(model.entity, model.project, model.name, `v${number}`, "compare")}
        deletion={{
          consequence: "They leave the registered model with their aliases; the versions that they link stay in their projects.",
          force: "Also those with aliases other than latest",
          remove: (id, force) => registry.deleteRegisteredModelVersion({ id, force, requestId: requestId() }),
        }}
      />
    </>
  );
}

function Head({ metric }: { metric: Metric }) {
  return (
    <thead>
      <tr>
        <th>
          <span class="vh">Select</span>
        </th>
        <th aria-sort="descending">Version</th>
        <th>Aliases</th>
        <th>Source Version</th>
        {metric.name && <th class="num">{metric.name}</th>}
        <th class="num">Size</th>
        <th>Linked</th>
        <th>By</th>
        <th>
          <span class="vh">Actions</span>
        </th>
      </tr>
    </thead>
  );
}

function Waiting({ columns }: { columns: number }) {
  return (
    <tr>
      <td colSpan={columns}>
        <span class="bones">
          <i />
        </span>
      </td>
    </tr>
  );
}

interface RowProps {
  version: RegisteredModelVersion;
  metric: Metric;
  selection: Selection;
}

function VersionRow({ version, metric, selection }: RowProps) {
  const number = `v${version.number}`;
  const href = hrefs.link(version.entity, version.project, version.name, number);
  const value = metric.valueOf(version);
  return (
    <tr {...selectable(selection, version.id)}>
      <td class="tick">
        <SelectBox selection={selection} id={version.id} label={number} />
      </td>
      <td>
        <a class="name" href={href}>
          {number}
        </a>
      </td>
      <td class="al">
        <span class="row">
          {sortedAliases(version.aliases, (alias) => alias).map((alias) => (
            <Alias key={alias} alias={alias} />
          ))}
        </span>
      </td>
      <td class="mono">
        {version.source ? (
          <a class="quiet" href={hrefOfRef(version.sourceRef, "version", version.source.type)}>
            {version.sourceRef.split("/").pop()}
          </a>
        ) : (
          <span class="faint">not yours to see</span>
        )}
      </td>
      {metric.name && (
        <td class="num" data-label={metric.name}>
          {value === undefined ? "—" : numberText(value)}
        </td>
      )}
      <td class="num no-phone">{version.source ? bytes(version.source.sizeBytes) : "—"}</td>
      <td class="no-phone">
        <Time at={version.createTime} />
      </td>
      <td class="no-phone mute">{version.createdBy}</td>
      <td class="acts">
        <a class="btn" href={href} aria-label={`View ${number}`}>
          View
        </a>
      </td>
    </tr>
  );
}
