// The dialog for card and tags of a registered model. What somebody else saved meanwhile is not overwritten.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { Chips } from "../parts/fields/chips";
import { Dialog } from "../parts/dialog";
import { Markdown } from "../parts/markdown";
import { toast } from "../parts/toast";
import { registry, requestId } from "../wire/clients";
import { type Failure, failureOf } from "../wire/failure";
import { touchAll } from "../wire/queries";

export function EditCard({ model, close }: { model: RegisteredModel; close: () => void }) {
  const card = useSignal(model.description);
  const tags = useSignal([...model.tags]);
  const etag = useSignal(model.etag);
  const failure = useSignal<Failure | undefined>(undefined);
  const isBusy = useSignal(false);
  const id = useId();
  const save = async () => {
    isBusy.value = true;
    failure.value = undefined;
    try {
      await registry.updateRegisteredModel({
        registeredModel: { id: model.id, description: card.value, tags: tags.value, etag: etag.value },
        updateMask: { paths: ["description", "tags"] },
        requestId: requestId(),
      });
      touchAll();
      toast("Saved");
      close();
    } catch (error) {
      failure.value = failureOf(error);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <Dialog title="Edit card and tags" act="Save" close={close} onAct={() => void save()} isBusy={isBusy.value} failure={failure.value} broad>
      <Chips label="Tags" placeholder="Add a tag" kind="tag" values={tags.value} change={(values) => (tags.value = values)} />
      <div class="fields even">
        <div class="field">
          <div class="row">
            <label for={id}>Card</label>
            <span class="hint">Markdown</span>
          </div>
          <textarea class="in mono" id={id} rows={18} data-first value={card.value} onInput={(event) => (card.value = event.currentTarget.value)} />
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
