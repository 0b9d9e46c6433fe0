// What models are there, what of each is in production, what changed last?
import { useSignal } from "@preact/signals";
import { EventType, type Event } from "../gen/modelyard/v1/event_pb";
import type { RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { FilterField } from "../parts/fields/filter";
import { Icon } from "../parts/icon";
import { Bones, Empty, Failed } from "../parts/states";
import { count } from "../parts/text";
import { hrefs, parameter, setParameters } from "../routes";
import { registry } from "../wire/clients";
import { quoted } from "../wire/filters";
import { type Listed, useList } from "../wire/lists";
import { useRegistries } from "../wire/registries";
import { FirstSteps } from "./first-steps";
import { Models } from "./models";
import { NewRegisteredModel } from "../dialogs/new-registered-model";

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

export function RegistryPage({ type, entity }: { type: string; entity: string }) {
  const filter = parameter("filter");
  const orderBy = parameter("sort") || "name";
  const wanted = [type && `type = ${quoted(type)}`, filter && `(${filter})`].filter(Boolean).join(" AND ");
  const { value: list, failure, need } = useList(
    `models ${entity} ${wanted} ${orderBy}`,
    (pageToken, pageSize) => read(entity, wanted, orderBy, pageToken, pageSize),
    (event) => event.entity === entity && CHANGES.includes(event.type),
  );
  const held = useRegistries(entity)?.filter((one) => one.registeredModelCount > 0n);
  const isMaking = useSignal(false);
  if (held && !held.length && list && !list.rows.length && !filter) return <FirstSteps entity={entity} />;
  return (
    <main class="main">
      <div class="wide">
        <div class="head">
          <div>
            <h1>Registered models</h1>
            {held && list && <p>{summary(held, filter ? undefined : list)}</p>}
          </div>
          <div class="row push">
            <button type="button" class="btn go" onClick={() => (isMaking.value = true)}>
              <Icon name="plus" />
              New registered model
            </button>
          </div>
        </div>
        <Tools type={type} filter={filter} orderBy={orderBy} />
        {failure && <Failed failure={failure} />}
        {!list && !failure && <Bones lines={9} />}
        {list && !list.rows.length && <NoModel type={type} filter={filter} />}
        {list && list.rows.length > 0 && <Models list={list} need={need} />}
      </div>
      {isMaking.value && <NewRegisteredModel entity={entity} close={() => (isMaking.value = false)} />}
    </main>
  );
}

function Tools({ type, filter, orderBy }: { type: string; filter: string; orderBy: string }) {
  return (
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
  );
}

function NoModel({ type, filter }: { type: string; filter: string }) {
  return (
    <Empty title={filter ? `No registered model matches ${filter}` : `No registered model of type ${type}`}>
      {filter && (
        <button type="button" class="btn" onClick={() => setParameters({ filter: "" })}>
          Clear the filter
        </button>
      )}
    </Empty>
  );
}

async function read(entity: string, filter: string, orderBy: string, pageToken: string, pageSize: number) {
  const reply = await registry.listRegisteredModels({ entity, filter, orderBy, pageSize, pageToken });
  return { rows: reply.registeredModels, next: reply.nextPageToken };
}

/** How many there are; of a list that is whole also how many have a version in production. */
function summary(registries: readonly { registeredModelCount: bigint }[], list: Listed<RegisteredModel> | undefined): string {
  const all = registries.reduce((sum, one) => sum + Number(one.registeredModelCount), 0);
  const total = `${all.toLocaleString("en")} in ${count(registries.length, "registry").replace("registrys", "registries")}.`;
  if (!list || list.next) return total;
  const held = list.rows.filter((model) => model.aliases.some((one) => one.alias === "production")).length;
  const those = held === 1 ? "1 has a version" : `${held || "None"} ${held ? "have" : "has"} a version`;
  return `${total} ${those} in production.`;
}

/** Whether an event is about a collection of this name. */
export function isAbout(event: Event, entity: string, project: string, name: string): boolean {
  return event.entity === entity && event.project === project && event.collection === name;
}
