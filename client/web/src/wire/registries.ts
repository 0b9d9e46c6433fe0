// The registries of an entity, with how many registered models each holds.
import { registry } from "./clients";
import { useQuery } from "./queries";

const MOST_REGISTRIES = 1_000;

export function useRegistries(entity: string) {
  return useQuery(
    `registries ${entity}`,
    async () => (await registry.listRegistries({ entity, pageSize: MOST_REGISTRIES })).registries,
    (event) => event.entity === entity && event.collectionId !== "",
  ).value;
}
