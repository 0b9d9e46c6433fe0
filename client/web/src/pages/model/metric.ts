// A number of each version of a registered model: an entry of its metadata, or a result of the run that made it.
import type { RegisteredModel, RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { flattened, numberOf } from "../../parts/values";
import { parameter, setParameters } from "../../routes";
import { registry, runs } from "../../wire/clients";
import { type Listed, useList } from "../../wire/lists";
import { type State, useQuery } from "../../wire/queries";
import { isAbout } from "../registry";
import { results, useProducer } from "../version/producer";

const PAGE = 1_000;
const RUN_PAGES = 10;
const MOST_PROJECTS = 5;
/** The newest versions whose metadata say which keys there are. */
const LOOKED_AT = 20;

const SOURCES = { metadata: "Metadata", summary: "Results of the runs" } as const;
type Source = keyof typeof SOURCES;

export interface Choice {
  /** `metadata:acc`, `summary:val/acc`: as in the address. */
  key: string;
  name: string;
  group: string;
}

export interface Metric {
  versions: State<Listed<RegisteredModelVersion>> & { need: (count: number) => void };
  choices: readonly Choice[];
  /** The name of what is shown; "" where there is no number. */
  name: string;
  key: string;
  choose: (key: string) => void;
  valueOf: (version: RegisteredModelVersion) => number | undefined;
}

/** The versions of a registered model that match a filter, the newest first, read as they are needed. */
export function useVersions(model: RegisteredModel, filter: string): Metric["versions"] {
  return useList(
    `links ${model.id} ${filter}`,
    async (pageToken, pageSize) => {
      const reply = await registry.listRegisteredModelVersions({ selector: { case: "id", value: model.id }, filter, pageSize, pageToken });
      return { rows: reply.versions, next: reply.nextPageToken, total: filter ? undefined : Number(model.versionCount) };
    },
    (event) => isAbout(event, model.entity, model.project, model.name),
  );
}

/** The number that the address names, else a result of the newest versions, else the first of their metadata. */
export function useMetric(model: RegisteredModel): Metric {
  const versions = useVersions(model, "");
  const rows = versions.value?.rows ?? [];
  const choices = useChoices(rows);
  const key = parameter("metric") || likely(choices);
  const [source, name] = divided(key);
  const found = useResults(rows, source === "summary" ? name : "");
  return {
    versions,
    choices,
    name,
    key,
    choose: (chosen) => setParameters({ metric: chosen }),
    valueOf: (version) => {
      if (!version.source || !name) return undefined;
      if (source === "summary") return found.get(version.source.producerRunId);
      return numberOf(flattened(version.source.metadata).find(([one]) => one === name)?.[1]);
    },
  };
}

/** Metadata hold inputs too: an entry with the name of a result comes first, then the results. */
function likely(choices: readonly Choice[]): string {
  const isResult = (one: Choice) => one.group === SOURCES.summary;
  const named = choices.find((one) => !isResult(one) && choices.some((other) => isResult(other) && (other.name === one.name || other.name.startsWith(`${one.name}.`))));
  return (named ?? choices.find(isResult) ?? choices[0])?.key ?? "";
}

function divided(key: string): [Source, string] {
  const [source = "", ...rest] = key.split(":");
  return [source === "summary" ? "summary" : "metadata", rest.join(":")];
}

function useChoices(rows: readonly RegisteredModelVersion[]): Choice[] {
  const newest = rows.find((row) => row.source?.producerRunId)?.source;
  const producer = useProducer(newest);
  const ofMetadata = rows.slice(0, LOOKED_AT).flatMap((row) => flattened(row.source?.metadata ?? {}).filter(([, value]) => numberOf(value) !== undefined));
  const choice = (source: Source) => ([name]: readonly [string, unknown]) => ({ key: `${source}:${name}`, name, group: SOURCES[source] });
  const all = [...ofMetadata.map(choice("metadata")), ...results(producer).map(choice("summary"))];
  return [...new Map(all.map((one) => [one.key, one])).values()];
}

/** A result by the ids of the runs of the versions' projects. */
function useResults(rows: readonly RegisteredModelVersion[], name: string): ReadonlyMap<string, number> {
  const sources = rows.flatMap((row) => (row.source?.producerRunId ? [row.source] : []));
  const places = [...new Map(sources.map((one) => [`${one.entity}/${one.project}`, { entity: one.entity, project: one.project }])).values()].slice(0, MOST_PROJECTS);
  const { value } = useQuery(
    `results ${name} ${places.map((one) => `${one.entity}/${one.project}`).join(" ")}`,
    async () => new Map(name ? (await Promise.all(places.map((place) => readResults(place, name)))).flat() : []),
    (event) => event.runId !== "" && places.some((place) => place.entity === event.entity && place.project === event.project),
  );
  return value ?? NONE;
}

const NONE: ReadonlyMap<string, number> = new Map();

async function readResults(place: { entity: string; project: string }, name: string): Promise<[string, number][]> {
  // The name may be that of an entry, or lead into a map.
  const paths = [...new Set([name, name.split(".")[0] ?? name])].map((key) => `summary.${key}`);
  const found: [string, number][] = [];
  let pageToken = "";
  for (let page = 0; page < RUN_PAGES; page += 1) {
    const reply = await runs.listRuns({ ...place, readMask: { paths }, pageSize: PAGE, pageToken });
    for (const run of reply.runs) {
      const value = numberOf(flattened(run.summary).find(([key]) => key === name)?.[1]);
      if (value !== undefined) found.push([run.id, value]);
    }
    pageToken = reply.nextPageToken;
    if (!pageToken) break;
  }
  return found;
}
