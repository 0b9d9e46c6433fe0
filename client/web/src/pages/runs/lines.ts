// The lines in the charts beside the table: of the runs or groups that are drawn, each in the colour that it had before.
import { useRef } from "preact/hooks";
import type { Run } from "../../gen/modelyard/v1/run_pb";
import { useQuery } from "../../wire/queries";
import { colourOf, type DrawnLine, lineOfRun, numbered } from "../charts/lines";
import { drawnKeys, namedKeys } from "./drawn";
import type { Group } from "./groups";
import { readNamed } from "./reading";
import type { Rows } from "./rows";
import type { View } from "./view";

/** Runs of a group whose mean is drawn. */
const MOST_OF_GROUP = 100;

export interface Lines {
  /** The keys of all that can be drawn, in the order of the rows. */
  keys: readonly string[];
  /** What is drawn, by its key. */
  drawn: ReadonlyMap<string, DrawnLine>;
}

export function useLines(view: View, { runs, groups }: Rows): Lines {
  const named = useNamed(view, runs, groups !== undefined);
  const all = [...runs, ...named];
  const keys = groups ? groups.map((group) => group.value) : all.map((run) => run.name);
  const drawn = drawnKeys(keys);
  const numbers = useNumbers(`${view.place.entity}/${view.place.project} ${view.group?.id}`, drawn);
  const made = drawn.flatMap((key): [string, DrawnLine][] => {
    const number = numbers.get(key) ?? 0;
    const group = groups?.find((one) => one.value === key);
    if (group) return [[key, lineOfGroup(group, number)]];
    const run = all.find((one) => one.name === key);
    return run ? [[key, lineOfRun(run, number)]] : [];
  });
  return { keys, drawn: new Map(made) };
}

function lineOfGroup({ value, runs }: Group, number: number): DrawnLine {
  return { id: `group ${value}`, name: value, ...colourOf(number), runIds: runs.slice(0, MOST_OF_GROUP).map((run) => run.id), size: runs.length };
}

/** The runs that the address draws and that are not among the rows that were read. */
function useNamed({ place, paths, touches }: View, runs: readonly Run[], isGrouped: boolean): readonly Run[] {
  const known = new Set(runs.map((run) => run.name));
  const missing = isGrouped || !runs.length ? [] : namedKeys().filter((name) => !known.has(name));
  const { value } = useQuery(`named ${place.entity}/${place.project} ${missing.join()} ${paths.join()}`, () => readNamed(place, missing, paths), touches);
  return missing.length ? (value ?? []) : [];
}

/** The numbers of lines, which give them their colours. */
function useNumbers(place: string, keys: readonly string[]): ReadonlyMap<string, number> {
  const before = useRef({ place, numbers: new Map<string, number>() });
  if (before.current.place !== place) before.current = { place, numbers: new Map() };
  return (before.current.numbers = numbered(keys, before.current.numbers));
}
