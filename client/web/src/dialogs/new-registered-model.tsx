// The dialog that makes a registered model.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { CardField } from "../parts/fields/card";
import { Chips } from "../parts/fields/chips";
import { Combobox } from "../parts/fields/combobox";
import { Dialog } from "../parts/dialog/dialog";
import { hrefs, navigate } from "../routes";
import { registry, requestId } from "../wire/clients";
import { useRegistries } from "../wire/registries";

const DEFAULT_REGISTRY = "model-registry";

export function NewRegisteredModel({ entity, close }: { entity: string; close: () => void }) {
  const name = useSignal("");
  const project = useSignal(DEFAULT_REGISTRY);
  const type = useSignal("model");
  const tags = useSignal<string[]>([]);
  const card = useSignal("");
  const id = useId();
  const registries = useRegistries(entity);
  const names = [...new Set([DEFAULT_REGISTRY, ...(registries ?? []).map((one) => one.name)])];

  const make = async () => {
    const { registeredModel: made } = await registry.createRegisteredModel({
      registeredModel: { entity, project: project.value, name: name.value.trim(), type: type.value, tags: tags.value, description: card.value },
      requestId: requestId(),
    });
    if (made) navigate(hrefs.model(made.entity, made.project, made.name));
    return `Made ${name.value.trim()}`;
  };
  return (
    <Dialog
      title="New registered model"
      act="New registered model"
      close={close}
      onAct={make}
      canAct={name.value.trim() !== "" && type.value.trim() !== ""}
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
      <CardField value={card.value} change={(text) => (card.value = text)} rows={12} hint="Markdown, optional" />
    </Dialog>
  );
}
