// The dialog that sets and removes aliases of a version. An alias that somebody moved meanwhile is not moved again.
import { useSignal } from "@preact/signals";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AliasUpdateSchema } from "../gen/modelyard/v1/alias_pb";
import type { ModelArtifactVersion } from "../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../gen/modelyard/v1/registered_model_pb";
import { Chips } from "../parts/fields/chips";
import { Dialog } from "../parts/dialog/dialog";
import { aliases, requestId } from "../wire/clients";

interface Props {
  holder: ModelArtifactVersion | RegisteredModelVersion;
  kind: "link" | "version";
  close: () => void;
}

export function EditAliases({ holder, kind, close }: Props) {
  const movable = holder.aliases.filter((alias) => alias !== "latest");
  const values = useSignal(movable);
  const version = `v${holder.number}`;
  const id = kind === "link" ? (holder as RegisteredModelVersion).registeredModelId : (holder as ModelArtifactVersion).modelArtifactId;
  const added = values.value.filter((alias) => !movable.includes(alias));
  const removed = movable.filter((alias) => !values.value.includes(alias));
  const save = async () => {
    const updates: MessageInitShape<typeof AliasUpdateSchema>[] = [
      ...added.map((alias) => ({ alias, change: { case: "version" as const, value: version } })),
      ...removed.map((alias) => ({ alias, change: { case: "remove" as const, value: true }, expectedVersion: version })),
    ];
    if (updates.length) await aliases.updateAliases({ selector: { case: "id", value: id }, updates, requestId: requestId() });
    return "Saved";
  };
  return (
    <Dialog title="Aliases" act="Save" close={close} onAct={save}>
      <p class="mute">
        of <strong class="quiet">{`${holder.name}:${version}`}</strong>
      </p>
      <Chips
        label="Aliases"
        placeholder="Add an alias"
        kind="alias"
        values={values.value}
        change={(next) => (values.value = next)}
        hint="An alias that stands on another version moves here at once. latest moves by itself."
      />
    </Dialog>
  );
}
