// The dialog that links the version one looks at: first the registered model, then the aliases.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { ModelArtifactVersion } from "../gen/modelyard/v1/model_artifact_pb";
import { Chips } from "../parts/fields/chips";
import { Combobox } from "../parts/fields/combobox";
import { Dialog } from "../parts/dialog";
import { count } from "../parts/text";
import { toast } from "../parts/toast";
import { hrefs } from "../routes";
import { registry, requestId } from "../wire/clients";
import { type Failure, failureOf } from "../wire/failure";
import { touchAll, useQuery } from "../wire/queries";
import { quoted } from "../pages/registry";

const NEW = "new";

export function LinkToRegistry({ version, close }: { version: ModelArtifactVersion; close: () => void }) {
  const step = useSignal(1);
  const target = useSignal("");
  const name = useSignal("");
  const aliases = useSignal<string[]>([]);
  const failure = useSignal<Failure | undefined>(undefined);
  const isBusy = useSignal(false);
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

  const link = async () => {
    isBusy.value = true;
    failure.value = undefined;
    try {
      const reply = await registry.linkModelArtifactVersion({
        selector: { case: "id", value: version.id },
        target: model
          ? { case: "targetId", value: model.id }
          : { case: "targetRef", value: `${version.entity}/model-registry/${name.value.trim()}` },
        aliases: aliases.value,
        requestId: requestId(),
      });
      touchAll();
      const made = reply.version;
      if (made) {
        toast(
          <>
            Linked as <a href={hrefs.link(made.entity, made.project, made.name, `v${made.number}`)}>{`${made.name}:v${made.number}`}</a>
          </>,
        );
      }
      close();
    } catch (error) {
      failure.value = failureOf(error);
    } finally {
      isBusy.value = false;
    }
  };
  const moved = (model?.aliases ?? []).filter((one) => aliases.value.includes(one.alias));
  return (
    <Dialog
      title="Link to registry"
      act={step.value === 1 ? "Next step" : "Link to registry"}
      close={close}
      onAct={() => (step.value === 1 ? (step.value = 2) : void link())}
      canAct={canGo}
      isBusy={isBusy.value}
      failure={failure.value}
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
        <Chips
          label="Aliases"
          placeholder="Add an alias"
          kind="alias"
          values={aliases.value}
          change={(values) => (aliases.value = values)}
          hint={[...moved.map((one) => `${one.alias} moves from ${one.version} at once.`), "latest moves by itself."].join(" ")}
        />
      )}
    </Dialog>
  );
}
