// Which version of a registered model holds which alias, since when, by whom; how do the versions compare?
import { useSignal } from "@preact/signals";
import type { AliasChange } from "../../gen/modelyard/v1/alias_pb";
import type { RegisteredModel } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias } from "../../parts/alias";
import { Icon } from "../../parts/icon";
import { useVisit } from "../../parts/kept/recent";
import { useKeys } from "../../parts/keyboard/keys";
import { firstLine, Markdown } from "../../parts/markdown";
import { Bones, Failed } from "../../parts/states";
import { Copied, Time } from "../../parts/text";
import { hrefs } from "../../routes";
import { registry } from "../../wire/clients";
import { useQuery } from "../../wire/queries";
import { EditCard } from "../../dialogs/edit-card";
import { LinkNewVersion } from "../../dialogs/link-new-version";
import { isAbout } from "../registry";
import { AcrossVersions } from "./across-versions";
import { byWeight, useAliasChanges } from "./alias-changes";
import { History } from "./history";
import { useMetric } from "./metric";
import { Versions } from "./versions";

interface Address {
  entity: string;
  project: string;
  name: string;
}

const STANDING = 3;

export function ModelPage({ entity, project, name }: Address) {
  const ref = `${entity}/${project}/${name}`;
  const { value: model, failure } = useQuery(
    `model ${ref}`,
    async () => (await registry.getRegisteredModel({ selector: { case: "ref", value: ref } })).registeredModel,
    (event) => isAbout(event, entity, project, name),
  );
  useVisit(model && { kind: "model", title: name, second: `${entity}/${project}`, href: hrefs.model(entity, project, name) });
  return (
    <main class="main">
      <div class="wide">
        {failure && <Failed failure={failure} />}
        {!model && !failure && <Bones lines={9} />}
        {model && <Model model={model} key={model.id} />}
      </div>
    </main>
  );
}

function Model({ model }: { model: RegisteredModel }) {
  const { value: history, failure } = useAliasChanges(model);
  const metric = useMetric(model);
  const isLinking = useSignal(false);
  const isEditing = useSignal(false);
  useKeys({ l: () => void (isLinking.value = true) });
  return (
    <>
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
      <Standing model={model} changes={history?.changes ?? []} />
      <div class="cols">
        <div>
          <Versions model={model} metric={metric} />
          {failure && <Failed failure={failure} />}
          {history && history.changes.length > 0 && <History model={model} history={history} />}
        </div>
        <div>
          <Card model={model} edit={() => (isEditing.value = true)} />
          <AcrossVersions metric={metric} />
        </div>
      </div>
      {isLinking.value && <LinkNewVersion model={model} close={() => (isLinking.value = false)} />}
      {isEditing.value && <EditCard model={model} close={() => (isEditing.value = false)} />}
    </>
  );
}

function Card({ model, edit }: { model: RegisteredModel; edit: () => void }) {
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>Card</h2>
        <span class="push">
          <button type="button" class="btn bare icon" aria-label="Edit card" onClick={edit}>
            <Icon name="edit" />
          </button>
        </span>
      </div>
      {model.description ? <Markdown text={model.description} /> : <p class="mute">No card yet. It says what the model is for, and where it fails.</p>}
    </section>
  );
}

/** What stands where now: the aliases that people move, the most important first. */
function Standing({ model, changes }: { model: RegisteredModel; changes: readonly AliasChange[] }) {
  const standing = model.aliases
    .filter((one) => one.alias !== "latest")
    .sort((a, b) => byWeight(a.alias, b.alias))
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
