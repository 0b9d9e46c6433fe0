// Which version holds which alias, since when, by whom; what was the case on a date?
import { timestampFromDate, timestampDate } from "@bufbuild/protobuf/wkt";
import { useSignal } from "@preact/signals";
import type { AliasChange } from "../gen/modelyard/v1/alias_pb";
import type { RegisteredModel, RegisteredModelVersion } from "../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../parts/alias";
import { Icon } from "../parts/icon";
import { useKeys } from "../parts/keyboard/keys";
import { Lanes } from "../parts/drawings/lanes";
import { Markdown } from "../parts/markdown";
import { MoreRows } from "../parts/more";
import { useVisit } from "../parts/kept/recent";
import { Bones, Empty, Failed } from "../parts/states";
import { bytes, Copied, Time } from "../parts/text";
import { hrefOfRef, hrefs } from "../routes";
import { aliases, registry } from "../wire/clients";
import { useQuery } from "../wire/queries";
import { EditCard } from "../dialogs/edit-card";
import { LinkNewVersion } from "../dialogs/link-new-version";
import { firstLine, isAbout } from "./registry";

interface Address {
  entity: string;
  project: string;
  name: string;
}

const STANDING = 3;
const VERSIONS_PAGE = 100;
const CHANGES_PAGE = 200;

export function ModelPage({ entity, project, name }: Address) {
  const ref = `${entity}/${project}/${name}`;
  const { value: model, failure } = useQuery(
    `model ${ref}`,
    async () => (await registry.getRegisteredModel({ selector: { case: "ref", value: ref } })).registeredModel,
    (event) => isAbout(event, entity, project, name),
  );
  const id = model?.id ?? "";
  const { value: changes, failure: changesFailure } = useQuery(
    `alias changes ${id}`,
    async () => (id ? (await aliases.listAliasChanges({ selector: { case: "id", value: id }, pageSize: CHANGES_PAGE })).changes : []),
    (event) => isAbout(event, entity, project, name),
  );
  const isLinking = useSignal(false);
  const isEditing = useSignal(false);
  useVisit(model && { kind: "model", title: name, second: `${entity}/${project}`, href: hrefs.model(entity, project, name) });
  useKeys({ l: () => void (isLinking.value = true) });
  if (!model) return <main class="main">{failure ? <Failed failure={failure} /> : <Bones lines={9} />}</main>;
  return (
    <main class="main">
      <div class="wide">
        {failure && <Failed failure={failure} />}
        <div class="head">
          <div>
            <div class="row">
              <h1>{model.name}</h1>
              <span class="tag">{model.type}</span>
              {model.tags.map((tag) => (
                <span class="tag" key={tag}>
                  {tag}
                </span>
              ))}
            </div>
            <p>
              {model.description && `${firstLine(model.description)} · `}
              <Copied text={`${model.project}/${model.name}`} />
            </p>
          </div>
          <div class="row push">
            <button type="button" class="btn go" onClick={() => (isLinking.value = true)}>
              <Icon name="link" />
              Link new version
            </button>
          </div>
        </div>
        <Standing model={model} changes={changes ?? []} />
        <div class="cols">
          <div>
            <Versions model={model} />
            {changesFailure && <Failed failure={changesFailure} />}
            {changes && changes.length > 0 && <History model={model} changes={changes} />}
          </div>
          <div>
            <section class="sec">
              <div class="sec-head">
                <h2>Card</h2>
                <span class="push">
                  <button type="button" class="btn bare icon" aria-label="Edit card" onClick={() => (isEditing.value = true)}>
                    <Icon name="edit" />
                  </button>
                </span>
              </div>
              {model.description ? <Markdown text={model.description} /> : <p class="mute">No card yet. It says what the model is for, and where it fails.</p>}
            </section>
          </div>
        </div>
      </div>
      {isLinking.value && <LinkNewVersion model={model} close={() => (isLinking.value = false)} />}
      {isEditing.value && <EditCard model={model} close={() => (isEditing.value = false)} />}
    </main>
  );
}

function Versions({ model }: { model: RegisteredModel }) {
  const pages = useSignal(1);
  const { value, failure } = useQuery(
    `links ${model.id} ${pages.value}`,
    () => readVersions(model.id, pages.value),
    (event) => isAbout(event, model.entity, model.project, model.name),
  );
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>Versions</h2>
        <span class="faint num">{Number(model.versionCount)}</span>
      </div>
      {failure && <Failed failure={failure} />}
      {!value && !failure && <Bones />}
      {value && !value.versions.length && <Empty title="No version yet">Link new version puts the first one here.</Empty>}
      {value && value.versions.length > 0 && (
        <div class="box clip" tabIndex={0} role="region" aria-label="Versions">
          <table class="tbl fold-up line">
            <thead>
              <tr>
                <th aria-sort="descending">Version</th>
                <th>Aliases</th>
                <th>Source Version</th>
                <th class="num">Size</th>
                <th>Linked</th>
                <th>By</th>
                <th>
                  <span class="vh">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {value.versions.map((version) => (
                <VersionRow key={version.id} version={version} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {value?.hasMore && <MoreRows more={() => (pages.value += 1)} />}
    </section>
  );
}

function VersionRow({ version }: { version: RegisteredModelVersion }) {
  const number = `v${version.number}`;
  const href = hrefs.link(version.entity, version.project, version.name, number);
  return (
    <tr>
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

async function readVersions(id: string, pages: number) {
  const versions: RegisteredModelVersion[] = [];
  let pageToken = "";
  do {
    const reply = await registry.listRegisteredModelVersions({ selector: { case: "id", value: id }, pageSize: VERSIONS_PAGE, pageToken });
    versions.push(...reply.versions);
    pageToken = reply.nextPageToken;
  } while (pageToken && versions.length < pages * VERSIONS_PAGE);
  return { versions, hasMore: pageToken !== "" };
}

function History({ model, changes }: { model: RegisteredModel; changes: readonly AliasChange[] }) {
  const alias = useSignal("");
  const names = sortedAliases([...new Set(changes.map((change) => change.alias))], (one) => one);
  const shown = changes.filter((change) => !alias.value || change.alias === alias.value);
  return (
      <section class="sec">
        <div class="sec-head">
          <h2 id="history">History</h2>
          <span class="push">
            <span class="seg" role="group" aria-label="Alias">
              {["", ...names.filter((one) => one !== "latest").slice(0, STANDING)].map((one) => (
                <button type="button" key={one} aria-pressed={alias.value === one} onClick={() => (alias.value = one)}>
                  {one || "All aliases"}
                </button>
              ))}
            </span>
          </span>
        </div>
        <div class="box">
          <Lanes changes={changes} names={names.slice(0, 5)} />
          <OnDate model={model} first={changes[changes.length - 1]} />
        </div>
        <ol class="hist hist-top">
          {shown.slice(0, 12).map((change) => (
            <li key={String(change.sequence)}>
              <Icon name="tag" />
              <span>
                <Alias alias={change.alias} />{" "}
                <span class="mono">
                  {change.previousVersion || "none"} → {change.version || "none"}
                </span>{" "}
                <span class="mute">by {change.principal}</span>
              </span>
              <Time at={change.createTime} />
            </li>
          ))}
        </ol>
      </section>
  );
}

/** What stands where now: the aliases that people move, the most important first. */
function Standing({ model, changes }: { model: RegisteredModel; changes: readonly AliasChange[] }) {
  const order = ["production", "staging"];
  const weight = (alias: string) => (order.includes(alias) ? order.indexOf(alias) : order.length);
  const standing = model.aliases
    .filter((one) => one.alias !== "latest")
    .sort((a, b) => weight(a.alias) - weight(b.alias))
    .slice(0, STANDING);
  if (!standing.length) return null;
  return (
    <div class="stand box">
      {standing.map(({ alias, version }) => {
        const since = changes.find((change) => change.alias === alias);
        return (
          <div key={alias}>
            <Alias alias={alias} />
            <div class="big">
              <a class="quiet" href={hrefs.link(model.entity, model.project, model.name, version)}>
                {version}
              </a>
            </div>
            {since && (
              <span class="small mute">
                since <Time at={since.createTime} />, by {since.principal}
              </span>
            )}
          </div>
        );
      })}
    </div>
  );
}

const STEPS = 200;
const dates = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });

/** What held each alias at a time, by the server's history. */
function OnDate({ model, first }: { model: RegisteredModel; first: AliasChange | undefined }) {
  const at = useSignal(STEPS);
  // Dates have milliseconds and changes microseconds: one more, so that the first change has happened.
  const begin = first?.createTime ? timestampDate(first.createTime).getTime() + 1 : Date.now();
  const end = useSignal(Date.now());
  const time = new Date(begin + ((end.value - begin) * at.value) / STEPS);
  const { value } = useQuery(
    `aliases at ${model.id} ${at.value === STEPS ? "now" : time.getTime()}`,
    async () =>
      (await aliases.listAliasChanges({
        selector: { case: "id", value: model.id },
        pageSize: CHANGES_PAGE,
        ...(at.value === STEPS ? { atTime: timestampFromDate(new Date()) } : { atTime: timestampFromDate(time) }),
      })).changes,
    (event) => at.value === STEPS && isAbout(event, model.entity, model.project, model.name),
  );
  const text = at.value === STEPS ? "now" : dates.format(time);
  return (
    <div class="answer">
      <label for="at">{at.value === STEPS ? "Now" : `On ${text}`}</label>
      <input
        id="at"
        type="range"
        min={0}
        max={STEPS}
        value={at.value}
        aria-valuetext={text}
        onInput={(event) => (at.value = Number(event.currentTarget.value))}
      />
      <span class="row" role="status">
        {sortedAliases(value ?? [], (one) => one.alias)
          .filter((one) => one.version)
          .map((one) => (
            <Alias key={one.alias} alias={one.alias} version={one.version} href={hrefs.link(model.entity, model.project, model.name, one.version)} />
          ))}
        {value && !value.some((one) => one.version) && <span class="faint small">no alias</span>}
      </span>
    </div>
  );
}
