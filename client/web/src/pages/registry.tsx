// What models are there, what of each is in production, what changed last?
import { useComputed, useSignal } from "@preact/signals";
import { EventType, type Event } from "../gen/modelyard/v1/event_pb";
import type { RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../parts/alias";
import { FilterField } from "../parts/fields/filter";
import { Icon } from "../parts/icon";
import { useKeys } from "../parts/keyboard/keys";
import { focusedRow } from "../parts/keyboard/rows";
import { MoreRows } from "../parts/more";
import { selectable, SelectBox, type Selection, SelectionBar, useSelection } from "../parts/lists/selection";
import { Menu } from "../parts/menu";
import { Bones, Empty, Failed } from "../parts/states";
import { copy, count, Time } from "../parts/text";
import { hrefs, parameter, setParameters } from "../routes";
import { registry, requestId } from "../wire/clients";
import { quoted } from "../wire/filters";
import { readPages } from "../wire/paging";
import { useQuery } from "../wire/queries";
import { FirstSteps } from "./first-steps";
import { DeleteChosen } from "../dialogs/delete-chosen";
import { LinkNewVersion } from "../dialogs/link-new-version";
import { NewRegisteredModel } from "../dialogs/new-registered-model";

const PAGE = 100;
const SORTS: Record<string, string> = { name: "Name", "create_time desc": "Newest", "update_time desc": "Last changed" };
const CHANGES: readonly EventType[] = [
  EventType.LINKED,
  EventType.UNLINKED,
  EventType.ALIAS_ADDED,
  EventType.ALIAS_REMOVED,
  EventType.COLLECTION_CREATED,
  EventType.COLLECTION_UPDATED,
  EventType.COLLECTION_DELETED,
  EventType.TAG_ADDED,
  EventType.TAG_REMOVED,
];

interface Found {
  models: RegisteredModel[];
  hasMore: boolean;
  total: number;
  registries: number;
}

export function RegistryPage({ type, entity }: { type: string; entity: string }) {
  const pages = useSignal(1);
  const filter = parameter("filter");
  const orderBy = parameter("sort") || "name";
  const wanted = [type && `type = ${quoted(type)}`, filter && `(${filter})`].filter(Boolean).join(" AND ");
  const { value, failure } = useQuery(
    `models ${entity} ${wanted} ${orderBy} ${pages.value}`,
    () => read(entity, wanted, orderBy, pages.value),
    (event) => event.entity === entity && CHANGES.includes(event.type),
  );
  const linking = useSignal<RegisteredModel | undefined>(undefined);
  const isMaking = useSignal(false);
  const isDeleting = useSignal(false);
  const models = value?.models ?? [];
  const selection = useSelection(models.map((model) => model.id));
  const chosen = models.filter((model) => selection.has(model.id));
  const copyRefs = () => void copy(chosen.map(refOfModel).join("\n"));
  useKeys({
    c: () => (chosen.length ? copyRefs() : false),
    l: () => {
      const path = focusedRow()?.pathname;
      const model = models.find((one) => hrefs.model(one.entity, one.project, one.name) === path);
      if (!model) return false;
      linking.value = model;
    },
  });
  const production = useComputed(() => value?.models.filter((model) => model.aliases.some((one) => one.alias === "production")).length ?? 0);
  if (value && !value.total && !filter) return <FirstSteps entity={entity} />;
  return (
    <main class="main">
      <div class="wide">
        <div class="head">
          <div>
            <h1>Registered models</h1>
            {value && <p>{summary(value, filter ? undefined : production.value)}</p>}
          </div>
          <div class="row push">
            <button type="button" class="btn go" onClick={() => (isMaking.value = true)}>
              <Icon name="plus" />
              New registered model
            </button>
          </div>
        </div>
        <div class="tools">
          <FilterField placeholder='name : "churn" AND tags : "vision"' value={filter} change={(text) => setParameters({ filter: text })} />
          <div class="seg no-phone" role="group" aria-label="Type">
            {["", "model", "dataset"].map((one) => (
              <a key={one} href={hrefs.registry(one)} aria-current={one === type}>
                {one || "All"}
              </a>
            ))}
          </div>
          <label class="push no-phone row">
            <span class="vh">Order</span>
            <select class="in" value={orderBy} onChange={(event) => setParameters({ sort: event.currentTarget.value })}>
              {Object.entries(SORTS).map(([key, label]) => (
                <option key={key} value={key}>
                  {label}
                </option>
              ))}
            </select>
          </label>
        </div>
        {failure && <Failed failure={failure} />}
        {!value && !failure && <Bones lines={9} />}
        {value && !value.models.length && (
          <Empty title={filter ? `No registered model matches ${filter}` : `No registered model of type ${type}`}>
            {filter && (
              <button type="button" class="btn" onClick={() => setParameters({ filter: "" })}>
                Clear the filter
              </button>
            )}
          </Empty>
        )}
        {models.length > 0 && <Models models={models} selection={selection} link={(model) => (linking.value = model)} />}
        {value?.hasMore && <MoreRows more={() => (pages.value += 1)} />}
        <SelectionBar selection={selection}>
          <button type="button" class="btn" onClick={copyRefs}>
            <Icon name="copy" />
            {chosen.length === 1 ? "Copy ref" : "Copy refs"}
          </button>
          <button type="button" class="btn" onClick={() => (isDeleting.value = true)}>
            <Icon name="trash" />
            Delete…
          </button>
        </SelectionBar>
      </div>
      {isDeleting.value && (
        <DeleteChosen
          noun="registered model"
          items={chosen.map((model) => ({ id: model.id, name: `${model.project}/${model.name}` }))}
          consequence="Their links, aliases and cards are deleted; the versions that are linked stay in their projects."
          force="Also those whose versions have aliases other than latest"
          remove={(id, force) => registry.deleteRegisteredModel({ id, force, requestId: requestId() })}
          close={() => (isDeleting.value = false)}
        />
      )}
      {linking.value && <LinkNewVersion model={linking.value} close={() => (linking.value = undefined)} />}
      {isMaking.value && <NewRegisteredModel entity={entity} close={() => (isMaking.value = false)} />}
    </main>
  );
}

interface ModelsProps {
  models: readonly RegisteredModel[];
  selection: Selection;
  link: (model: RegisteredModel) => void;
}

function Models({ models, selection, link }: ModelsProps) {
  return (
    <table class="tbl tall fold-up ticked">
      <thead>
        <tr>
          <th>
            <span class="vh">Select</span>
          </th>
          <th>Name</th>
          <th>Type</th>
          <th>Aliases</th>
          <th class="num">Versions</th>
          <th>Last linked</th>
          <th>
            <span class="vh">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {models.map((model) => (
          <ModelRow key={model.id} model={model} selection={selection} link={link} />
        ))}
      </tbody>
    </table>
  );
}

const SHOWN_ALIASES = 4;

function ModelRow({ model, selection, link }: Omit<ModelsProps, "models"> & { model: RegisteredModel }) {
  const href = hrefs.model(model.entity, model.project, model.name);
  const aliases = sortedAliases(model.aliases, (one) => one.alias);
  const shown = aliases.length > SHOWN_ALIASES ? aliases.slice(0, SHOWN_ALIASES - 1) : aliases;
  return (
    <tr {...selectable(selection, model.id)}>
      <td class="tick">
        <SelectBox selection={selection} id={model.id} label={model.name} />
      </td>
      <td class="full">
        {model.project !== "model-registry" && <span class="faint">{model.project} / </span>}
        <a class="name" href={href}>
          {model.name}
        </a>
        {model.description && <span class="two">{firstLine(model.description)}</span>}
      </td>
      <td class="no-phone">
        <span class="tag">{model.type}</span>
      </td>
      <td class="full">
        <span class="row">
          {shown.map(({ alias, version }) => (
            <Alias key={alias} alias={alias} version={version} href={hrefs.link(model.entity, model.project, model.name, version)} />
          ))}
          {aliases.length > shown.length && <span class="faint">+ {aliases.length - shown.length}</span>}
        </span>
      </td>
      <td class="num" data-unit={Number(model.versionCount) === 1 ? "version" : "versions"}>
        {Number(model.versionCount)}
      </td>
      <td class="last">
        {model.lastLinkTime ? (
          <>
            <span class="no-phone">
              <Time at={model.lastLinkTime} />
            </span>
            <span class="two">
              by {model.lastLinkedBy}
              <span class="only-phone">
                , <Time at={model.lastLinkTime} />
              </span>
            </span>
          </>
        ) : (
          <span class="mute">never</span>
        )}
      </td>
      <td class="acts">
        <span class="row acts-in">
          <a class="btn" href={href} aria-label={`View details of ${model.name}`}>
            View details
          </a>
          <Menu
            label={model.name}
            items={[
              { label: "Link new version", icon: "link", act: () => link(model) },
              { label: "Copy ref", icon: "copy", act: () => void copy(refOfModel(model)) },
            ]}
          />
        </span>
      </td>
    </tr>
  );
}

async function read(entity: string, filter: string, orderBy: string, pages: number): Promise<Found> {
  const all = registry.listRegistries({ entity, pageSize: 1000 });
  all.catch(() => undefined); // where the list fails first, nobody waits for it
  const { items: models, hasMore } = await readPages(
    pages * PAGE,
    (pageToken) => registry.listRegisteredModels({ entity, filter, orderBy, pageSize: PAGE, pageToken }),
    (reply) => reply.registeredModels,
  );
  const held = (await all).registries.filter((one) => one.registeredModelCount > 0n);
  const total = held.reduce((sum, one) => sum + Number(one.registeredModelCount), 0);
  return { models, hasMore, total, registries: held.length };
}

function summary(found: Found, inProduction: number | undefined): string {
  const total = `${found.total.toLocaleString("en")} in ${count(found.registries, "registry").replace("registrys", "registries")}.`;
  if (inProduction === undefined || found.hasMore) return total;
  const those = inProduction === 1 ? "1 has a version" : `${inProduction || "None"} ${inProduction ? "have" : "has"} a version`;
  return `${total} ${those} in production.`;
}

/** The first line of a card, without its marks. */
export function firstLine(markdown: string): string {
  const line = markdown.split("\n").find((one) => one.trim() && !one.startsWith("#")) ?? "";
  return line.replace(/[*_`]|\[([^\]]*)\]\([^)]*\)/g, "$1").trim();
}

function refOfModel(model: RegisteredModel): string {
  return `${model.entity}/${model.project}/${model.name}`;
}

/** Whether an event is about a collection of this name. */
export function isAbout(event: Event, entity: string, project: string, name: string): boolean {
  return event.entity === entity && event.project === project && event.collection === name;
}
