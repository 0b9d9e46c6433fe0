// The meanings of what somebody types to find a place.

/** One meaning of a text: which names in which project, and the version behind the colon. */
export interface Reading {
  entity: string;
  /** "" for every project. */
  project: string;
  name: string;
  /** `v3`, an alias, or the start of either; undefined where the text has no colon. */
  selector: string | undefined;
  /** Names of artifacts and models have neither slashes nor colons; those of runs may. */
  isWhole: boolean;
}

/** The meanings of a text: as a name, and where it has slashes or a colon as a ref. */
export function readingsOf(entity: string, text: string): Reading[] {
  const whole: Reading = { entity, project: "", name: text, selector: undefined, isWhole: true };
  const slashes = text.split("/");
  const last = slashes.pop() ?? "";
  const colon = last.lastIndexOf(":");
  if (!slashes.length && colon < 0) return [whole];
  const scope = slashes.length > 1 ? { entity: slashes[0] ?? "", project: slashes.slice(1).join("/") } : { entity, project: slashes[0] ?? "" };
  const named = colon < 0 ? { name: last, selector: undefined } : { name: last.slice(0, colon), selector: last.slice(colon + 1) };
  const readings: Reading[] = [whole, { ...scope, ...named, isWhole: false }];
  if (slashes.length === 1 && colon < 0) readings.push({ entity: scope.project, project: "", name: last, selector: undefined, isWhole: false });
  return readings;
}
