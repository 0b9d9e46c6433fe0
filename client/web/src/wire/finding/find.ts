// Finds places by what somebody types: parts of names, ids of runs, and refs typed whole or in part.
import type { FoundPlace } from "./places";
import { type Reading, readingsOf } from "./readings";
import { findArtifacts, findLinks, findModels, findProjects, findRuns, findVersions } from "./sources";

export interface FoundGroup {
  title: string;
  places: readonly FoundPlace[];
}

type Source = (reading: Reading, pageSize: number, stop: AbortSignal) => Promise<FoundPlace[]>;

const MOST_OF_A_KIND = 6;
const SOURCES: readonly [string, Source][] = [
  ["Registered models", findModels],
  ["Versions of registered models", findLinks],
  ["Artifacts", findArtifacts],
  ["Versions of artifacts", findVersions],
  ["Runs", findRuns],
  ["Projects", findProjects],
];

/** What a text finds in an entity; the newest of each kind for "". The group with an exact match comes first. */
export async function find(entity: string, text: string, stop: AbortSignal): Promise<FoundGroup[]> {
  const readings = readingsOf(entity, text);
  const groups = await Promise.all(
    SOURCES.map(async ([title, source]) => {
      const replies = await Promise.allSettled(readings.map((reading) => source(reading, MOST_OF_A_KIND, stop)));
      return { title, replies, places: ranked(replies.flatMap((one) => (one.status === "fulfilled" ? one.value : [])), text) };
    }),
  );
  stop.throwIfAborted();
  const found = groups.filter((group) => group.places.length).sort((a, b) => Number(isExact(b)) - Number(isExact(a)));
  // A ref may name an entity or a project that does not exist: only the failures of the text as a name count.
  const failed = groups.map((group) => group.replies[0]).find((one) => one?.status === "rejected");
  if (!found.length && failed?.status === "rejected") throw failed.reason;
  return found;
}

function isExact(group: Pick<FoundGroup, "places">): boolean {
  return group.places.some((place) => place.isExact);
}

/** Exact matches first, then what begins with the text; each place once. */
function ranked(places: readonly FoundPlace[], text: string): FoundPlace[] {
  const unique = [...new Map(places.toReversed().map((place) => [place.href, place])).values()].toReversed();
  const weight = (place: FoundPlace) => (place.isExact ? 0 : place.title.toLowerCase().startsWith(text.toLowerCase()) ? 1 : 2);
  return unique.sort((a, b) => weight(a) - weight(b)).slice(0, MOST_OF_A_KIND);
}
