// The other versions of the same artifact, or of the same registered model.
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { artifacts, registry } from "../../wire/clients";
import { useQuery } from "../../wire/queries";

const MOST = 1_000;

/** What the page knows of a version by its place in a collection. */
export type Holder = Pick<ModelArtifactVersion | RegisteredModelVersion, "id" | "entity" | "project" | "name" | "number" | "aliases" | "createTime">;

/** The newest versions of what holds this one, the newest first, without itself; undefined while they are read. */
export function useSiblings(version: ModelArtifactVersion, link: RegisteredModelVersion | undefined): readonly Holder[] | undefined {
  const holder = link ?? version;
  const collection = link?.registeredModelId ?? version.modelArtifactId;
  const selector = { case: "id", value: collection } as const;
  const { value } = useQuery(
    `siblings in ${collection}`,
    async (): Promise<readonly Holder[]> =>
      link
        ? (await registry.listRegisteredModelVersions({ selector, pageSize: MOST })).versions.filter((one) => one.source)
        : (await artifacts.listModelArtifactVersions({ selector, pageSize: MOST })).versions,
    (event) => event.collectionId === collection,
  );
  return value?.filter((one) => one.id !== holder.id);
}

export function refOf(holder: Holder): string {
  return `${holder.entity}/${holder.project}/${holder.name}:v${holder.number}`;
}
