// The files of two versions compared, read page by page up to a limit.
import type { FileChange, VersionComparison } from "../../gen/modelyard/v1/model_artifact_pb";
import { artifacts } from "../../wire/clients";

const PAGE = 10_000;
export const MOST_CHANGES = 50_000;

export interface Comparison {
  changes: readonly FileChange[];
  total: VersionComparison | undefined;
  baseId: string;
  /** Whether there are more changes than were read. */
  hasMore: boolean;
}

/** What changed from the version that a reference means to the one with the id. */
export async function compare(id: string, baseRef: string): Promise<Comparison> {
  const selector = { case: "id", value: id } as const;
  const first = await artifacts.compareModelArtifactVersions({ selector, base: { case: "baseRef", value: baseRef }, pageSize: PAGE });
  const changes = [...first.changes];
  let pageToken = first.nextPageToken;
  while (pageToken && changes.length < MOST_CHANGES) {
    const base = { case: "baseId", value: first.baseVersionId } as const;
    const reply = await artifacts.compareModelArtifactVersions({ selector, base, pageSize: PAGE, pageToken });
    changes.push(...reply.changes);
    pageToken = reply.nextPageToken;
  }
  return { changes, total: first.total, baseId: first.baseVersionId, hasMore: pageToken !== "" };
}
