// The places that were visited last in this browser, for each principal: what "jump to anything" begins with.
import { useEffect } from "preact/hooks";
import { caller } from "../../wire/caller";
import type { Place } from "../../wire/finding/places";
import { keep, kept } from "./kept";

const MOST_PLACES = 8;

/** The newest first. */
export function recentPlaces(): Place[] {
  try {
    const found: unknown = JSON.parse(kept(name()));
    return Array.isArray(found) ? found.filter(isPlace) : [];
  } catch {
    return [];
  }
}

/** Notes a place once it is shown; undefined while it loads. */
export function useVisit(place: Place | undefined): void {
  useEffect(() => {
    if (place) keep(name(), JSON.stringify([place, ...recentPlaces().filter((one) => one.href !== place.href)].slice(0, MOST_PLACES)));
  }, [place?.href, place?.title]);
}

function name(): string {
  return `recent of ${caller.value?.principal ?? ""} in ${caller.value?.entity ?? ""}`;
}

function isPlace(value: unknown): value is Place {
  const texts = ["kind", "title", "second", "href"];
  return typeof value === "object" && value !== null && texts.every((one) => typeof (value as Record<string, unknown>)[one] === "string");
}
