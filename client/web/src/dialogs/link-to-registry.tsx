// The dialog that links the version one looks at: first the registered model, then the aliases.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { ModelArtifactVersion } from "../gen/modelyard/v1/model_artifact_pb";
import { Combobox } from "../parts/fields/combobox";
import { Dialog } from "../parts/dialog/dialog";
import { count } from "../parts/text";
import { registry } from "../wire/clients";
import { quoted } from "../wire/filters";
import { useQuery } from "../wire/queries";
import { AliasesOfLink, link } from "./linking";

const NEW = "new";

export function LinkToRegistry({ version, close }: { version: ModelArtifactVersion; close: () => void }) {
  const step = useSignal(1);
  const target = useSignal("");
  const name = useSignal("");
  const aliases = useSignal<string[]>([]);
  const id = useId();
  const { value: models } = useQuery(
    `models of type ${version.entity} ${version.type}`,
    async () =>
      (await registry.listRegisteredModels({ entity: version.entity, filter: `type = ${quoted(version.type)}`, pageSize: 1000 })).registeredModels,
    (event) => event.entity === version.entity,
  );
  const model = models?.find((one) => one.id === target.value);
  const title = model?.name ?? name.value.trim();
  const canGo = target.value === NEW ? name.value.trim() !== "" : target.value !== "";

  const act = () => {
    if (step.value === 2) {
      const made = `${version.entity}/model-registry/${name.value.trim()}`;
      return link(version.id, model ? { case: "targetId", value: model.id } : { case: "targetRef", value: made }, aliases.value);
    }
    step.value = 2;
    return undefined;
  };
  return (
    <Dialog
      title="Link to registry"
      act={step.value === 1 ? "Next step" : "Link to registry"}
      close={close}
      onAct={act}
      canAct={canGo}
      {...(step.value === 2 ? { back: { label: "Back", go: () => (step.value = 1) } } : {})}
    >
      <p class="mute">
        <span class="mono">{`${version.name}:v${version.number}`}</span>
        {step.value === 2 && (
          <>
            {" "}
            to <strong class="quiet">{title}</strong>
          </>
        )}
      </p>
      {step.value === 1 ? (
        <>
          <Combobox
            label="Select a registered model"
            isFirst
            value={target.value}
            placeholder="Choose a registered model"
            choose={(value) => (target.value = value)}
            choices={[
              ...(models ?? []).map((one) => ({
                value: one.id,
                text: `${one.project}/${one.name}`,
                content: (
                  <>
                    {one.project !== "model-registry" && <span class="faint">{one.project} / </span>}
                    {one.name}
                    <span class="end">{count(one.versionCount, "version")}</span>
                  </>
                ),
              })),
              { value: NEW, text: "New registered model", content: <>New registered model…</> },
            ]}
          />
          {target.value === NEW && (
            <div class="field">
              <label for={id}>Name</label>
              <input class="in" id={id} maxLength={128} value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />
              <p class="hint">
                It is made in <span class="mono">model-registry</span>, for the type {version.type}.
              </p>
            </div>
          )}
        </>
      ) : (
        <AliasesOfLink model={model} values={aliases.value} change={(values) => (aliases.value = values)} />
      )}
    </Dialog>
  );
}
