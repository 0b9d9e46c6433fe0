// What the dialogs that link a version have in common: the call, and the field for aliases.
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { LinkModelArtifactVersionRequestSchema, RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { Chips } from "../parts/fields/chips";
import { hrefs } from "../routes";
import { registry, requestId } from "../wire/clients";

type Target = NonNullable<MessageInitShape<typeof LinkModelArtifactVersionRequestSchema>["target"]>;

/** Links a version, and gives the sentence that says so. */
export async function link(versionId: string, target: Target, aliases: readonly string[]) {
  const { version } = await registry.linkModelArtifactVersion({
    selector: { case: "id", value: versionId },
    target,
    aliases: [...aliases],
    requestId: requestId(),
  });
  if (!version) return "Linked";
  const number = `v${version.number}`;
  return (
    <>
      Linked as <a href={hrefs.link(version.entity, version.project, version.name, number)}>{`${version.name}:${number}`}</a>
    </>
  );
}

interface Props {
  model: RegisteredModel | undefined;
  values: readonly string[];
  change: (values: string[]) => void;
}

/** Aliases of the new link; it says which of them move away from another version. */
export function AliasesOfLink({ model, values, change }: Props) {
  const moved = (model?.aliases ?? []).filter((one) => values.includes(one.alias));
  return (
    <Chips
      label="Aliases"
      placeholder="Add an alias"
      kind="alias"
      values={values}
      change={change}
      hint={[...moved.map((one) => `${one.alias} moves from ${one.version} at once.`), "latest moves by itself."].join(" ")}
    />
  );
}
