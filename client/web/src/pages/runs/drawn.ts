// Which of the rows are drawn in the charts: the first ones, without those that are hidden and with those that were
// added, or the ones that are shown alone. The address has it all.
import { parameter, setParameters } from "../../routes";

const DRAWN = 10;
const MOST_DRAWN = 100;

function listed(name: string): string[] {
  return parameter(name).split(",").filter(Boolean).map(decoded);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function written(keys: Iterable<string>): string {
  return [...keys].map(encodeURIComponent).join();
}

/** The keys that the address names and that may be beyond the rows that were read. */
export function namedKeys(): string[] {
  const solo = listed("solo");
  return solo.length ? solo : listed("draw");
}

/** The keys of the lines to draw, out of those of the rows, in their order. */
export function drawnKeys(keys: readonly string[]): string[] {
  const solo = new Set(listed("solo"));
  if (solo.size) return keys.filter((key) => solo.has(key)).slice(0, MOST_DRAWN);
  const hidden = new Set(listed("hide"));
  const added = new Set(listed("draw"));
  return keys.filter((key, number) => !hidden.has(key) && (number < DRAWN || added.has(key))).slice(0, MOST_DRAWN);
}

/** Hides a line that is drawn, and draws one that is not. */
export function toggle(key: string, keys: readonly string[]): void {
  const [solo, hidden, added] = [new Set(listed("solo")), new Set(listed("hide")), new Set(listed("draw"))];
  const isDrawn = drawnKeys(keys).includes(key);
  if (solo.size) {
    if (isDrawn) solo.delete(key);
    else solo.add(key);
  } else if (isDrawn) {
    if (!added.delete(key)) hidden.add(key);
  } else if (!hidden.delete(key)) {
    added.add(key);
  }
  setParameters({ solo: written(solo), hide: written(hidden), draw: written(added) });
}

/** Draws one line alone; again, all that were drawn before. */
export function solo(key: string): void {
  const now = listed("solo");
  setParameters({ solo: now.length === 1 && now[0] === key ? "" : written([key]) });
}

/** Whether some line is hidden or shown alone. */
export function isChosen(): boolean {
  return ["solo", "hide", "draw"].some((name) => parameter(name));
}

export function drawFirst(): void {
  setParameters({ solo: "", hide: "", draw: "" });
}
