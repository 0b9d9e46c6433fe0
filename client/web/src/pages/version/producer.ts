// The run that made a version first, and the numbers of its summary.
import { LineageDirection, LineageRelation, type ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { Run } from "../../gen/modelyard/v1/run_pb";
import type { AnyValue } from "../../gen/modelyard/v1/value_pb";
import { flattened, numberOf } from "../../parts/values";
import { artifacts, runs } from "../../wire/clients";
import { useQuery } from "../../wire/queries";

/** Undefined while it is read, where no run made the version, and where that run was deleted. */
export function useProducer(version: ModelArtifactVersion | undefined): Run | undefined {
  const id = version?.producerRunId ?? "";
  return useQuery(
    `producer ${version?.id ?? ""}`,
    async () => (version && id && (await isThere(version.id, id)) ? (await runs.getRun({ selector: { case: "id", value: id } })).run : undefined),
    (event) => event.runId === id,
  ).value;
}

/** Asked before the run is read, since a deleted one cannot be. */
async function isThere(versionId: string, runId: string): Promise<boolean> {
  const found = await artifacts.getLineage({ selector: { case: "id", value: versionId }, depth: 1, direction: LineageDirection.UPSTREAM });
  const made = found.edges.some((edge) => edge.relation === LineageRelation.OUTPUT && edge.runId === runId);
  return made && found.runs.some((run) => run.id === runId && !run.deleted);
}

/** The numbers of a summary by dotted names, without those that the SDK adds. */
export function results(run: Run | undefined): [string, AnyValue][] {
  return flattened(run?.summary ?? {}).filter(([key, value]) => !key.startsWith("_") && numberOf(value) !== undefined);
}
