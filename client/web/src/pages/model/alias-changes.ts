// The history of a registered model's aliases, as far as the page reads it.
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { AliasChange } from "../../gen/modelyard/v1/alias_pb";
import type { RegisteredModel } from "../../gen/modelyard/v1/registered_model_pb";
import { aliases } from "../../wire/clients";
import { type State, useQuery } from "../../wire/queries";
import { isAbout } from "../registry";

const PAGE = 1_000;
const MOST = 5_000;
const FIRST = ["production", "staging"];

export interface AliasHistory {
  /** The newest first. */
  changes: readonly AliasChange[];
  /** Whether there are older changes than were read. */
  hasMore: boolean;
}

export function useAliasChanges(model: RegisteredModel): State<AliasHistory> {
  return useQuery(
    `alias changes ${model.id}`,
    () => read(model.id),
    (event) => isAbout(event, model.entity, model.project, model.name),
  );
}

async function read(id: string): Promise<AliasHistory> {
  const changes: AliasChange[] = [];
  let pageToken = "";
  do {
    const reply = await aliases.listAliasChanges({ selector: { case: "id", value: id }, pageSize: PAGE, pageToken });
    changes.push(...reply.changes);
    pageToken = reply.nextPageToken;
  } while (pageToken && changes.length < MOST);
  return { changes, hasMore: pageToken !== "" };
}

export function timeOf(change: AliasChange): number {
  return change.createTime ? timestampDate(change.createTime).getTime() : 0;
}

/** The order in which aliases matter: production, staging, the others by name, `latest` at the end. */
export function byWeight(one: string, other: string): number {
  return weight(one) - weight(other) || one.localeCompare(other);
}

function weight(alias: string): number {
  if (alias === "latest") return FIRST.length + 1;
  return FIRST.includes(alias) ? FIRST.indexOf(alias) : FIRST.length;
}
