// The dialog for card and tags of a registered model. What somebody else saved meanwhile is not overwritten.
import { useSignal } from "@preact/signals";
import type { RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { CardField } from "../parts/fields/card";
import { Chips } from "../parts/fields/chips";
import { Dialog } from "../parts/dialog/dialog";
import { registry, requestId } from "../wire/clients";

export function EditCard({ model, close }: { model: RegisteredModel; close: () => void }) {
  const card = useSignal(model.description);
  const tags = useSignal([...model.tags]);
  const etag = useSignal(model.etag);
  const save = async () => {
    await registry.updateRegisteredModel({
      registeredModel: { id: model.id, description: card.value, tags: tags.value, etag: etag.value },
      updateMask: { paths: ["description", "tags"] },
      requestId: requestId(),
    });
    return "Saved";
  };
  return (
    <Dialog title="Edit card and tags" act="Save" close={close} onAct={save} broad>
      <Chips label="Tags" placeholder="Add a tag" kind="tag" values={tags.value} change={(values) => (tags.value = values)} />
      <CardField value={card.value} change={(text) => (card.value = text)} rows={18} hint="Markdown" isFirst />
    </Dialog>
  );
}
