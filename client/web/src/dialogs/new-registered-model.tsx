// The dialog that makes a registered model.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { Chips } from "../parts/fields/chips";
import { Combobox } from "../parts/fields/combobox";
import { Dialog } from "../parts/dialog";
import { Markdown } from "../parts/markdown";
import { toast } from "../parts/toast";
import { hrefs, navigate } from "../routes";
import { registry, requestId } from "../wire/clients";
import { type Failure, failureOf } from "../wire/failure";
import { touchAll, useQuery } from "../wire/queries";

const DEFAULT_REGISTRY = "model-registry";

export function NewRegisteredModel({ entity, close }: { entity: string; close: () => void }) {
  const name = useSignal("");
  const project = useSignal(DEFAULT_REGISTRY);
  const type = useSignal("model");
  const tags = useSignal<string[]>([]);
  const card = useSignal("");
  const failure = useSignal<Failure | undefined>(undefined);
  const isBusy = useSignal(false);
  const id = useId();
  const { value: registries } = useQuery(
    `registries ${entity}`,
    async () => (await registry.listRegistries({ entity, pageSize: 1000 })).registries,
    () => false,
  );
  const names = [...new Set([DEFAULT_REGISTRY, ...(registries ?? []).map((one) => one.name)])];

  const make = async () => {
    isBusy.value = true;
    failure.value = undefined;
    try {
      const reply = await registry.createRegisteredModel({
        registeredModel: { entity, project: project.value, name: name.value.trim(), type: type.value, tags: tags.value, description: card.value },
        requestId: requestId(),
      });
      touchAll();
      const made = reply.registeredModel;
      if (made) navigate(hrefs.model(made.entity, made.project, made.name));
      toast(`Made ${name.value.trim()}`);
      close();
    } catch (error) {
      failure.value = failureOf(error);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <Dialog
      title="New registered model"
      act="New registered model"
      close={close}
      onAct={() => void make()}
      canAct={name.value.trim() !== "" && type.value.trim() !== ""}
      isBusy={isBusy.value}
      failure={failure.value}
      broad
    >
      <div class="fields">
        <div class="field">
          <label for={`${id}-name`}>Name</label>
          <input class="in" id={`${id}-name`} data-first value={name.value} maxLength={128} onInput={(event) => (name.value = event.currentTarget.value)} />
          <p class="hint">
            Its ref:{" "}
            <span class="mono">
              {project.value}/{name.value.trim() || "…"}
            </span>
          </p>
        </div>
        <Combobox
          label="Registry"
          value={project.value}
          choose={(value) => (project.value = value)}
          placeholder=""
          choices={names.map((one) => ({ value: one, text: one, content: one }))}
        />
        <div class="field">
          <label for={`${id}-type`}>Type</label>
          <input class="in" id={`${id}-type`} list={`${id}-types`} value={type.value} onInput={(event) => (type.value = event.currentTarget.value)} />
          <datalist id={`${id}-types`}>
            <option value="model" />
            <option value="dataset" />
          </datalist>
          <p class="hint">Only versions of this type can be linked. It stays.</p>
        </div>
        <Chips label="Tags" placeholder="Add a tag" kind="tag" values={tags.value} change={(values) => (tags.value = values)} />
      </div>
      <div class="fields even">
        <div class="field">
          <div class="row">
            <label for={`${id}-card`}>Card</label>
            <span class="hint">Markdown, optional</span>
          </div>
          <textarea class="in mono" id={`${id}-card`} rows={12} value={card.value} onInput={(event) => (card.value = event.currentTarget.value)} />
        </div>
        <div class="field">
          <span class="label" id={`${id}-preview`}>
            Preview
          </span>
          <div class="preview" role="region" aria-labelledby={`${id}-preview`}>
            <Markdown text={card.value} />
          </div>
        </div>
      </div>
    </Dialog>
  );
}
