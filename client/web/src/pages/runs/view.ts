// What the address says about the table of runs: filter, columns, order, groups.
import { type Event, EventType } from "../../gen/modelyard/v1/event_pb";
import { splitNames } from "../../parts/fields/field-names";
import { parameter } from "../../routes";
import { useLast } from "../../wire/pacing";
import { useQuery } from "../../wire/queries";
import { type Column, columnOf } from "./columns";
import { differing, firstColumns, type Keys, type Newest, type Place, readKeys, readMask, readNewest } from "./reading";

export interface View {
  place: Place;
  filter: string;
  /** The ids of the columns; those that nothing is known of are left out of `columns`. */
  ids: readonly string[];
  columns: readonly Column[];
  group: Column | undefined;
  sort: { id: string; isDescending: boolean };
  /** The column of the order, if it is one that the server does not order by. */
  sortedBy: Column | undefined;
  /** The server's order. */
  orderBy: string;
  /** Whether all runs have to be read before the rows are known. */
  isWhole: boolean;
  /** How many runs are read at most. */
  most: number;
  /** What is read of each run. */
  paths: string[];
  newest: Newest | undefined;
  /** The keys of all runs of the project, whatever the filter. */
  keys: Keys | undefined;
  touches: (event: Event) => boolean;
}

/** Runs that are grouped, or sorted by what the server does not order by. */
const MOST_WHOLE = 10_000;
/** Runs that are sorted by an extreme of a metric, which is read for each. */
export const MOST_BY_METRIC = 1_000;
const NEWEST_FIRST = "create_time desc";

export function useView(place: Place): View {
  const { entity, project } = place;
  const touches = (event: Event) => event.type === EventType.RUN_STATE && event.entity === entity && event.project === project;
  const filter = parameter("filter");
  const here = `${entity}/${project}`;
  const { value: newest } = useQuery(`newest run ${here}`, () => readNewest(place), touches);
  const { value: keys } = useQuery(`run keys ${here} `, () => readKeys(place, ""), touches);
  const { value: matching } = useQuery(`run keys ${here} ${filter}`, () => readKeys(place, filter), touches);
  const first = useLast(newest && keys && firstColumns(keys, newest), here) ?? [];
  const ids = shownIds(first, matching);
  const columns = ids.flatMap((id) => columnOf(id) ?? []);
  const group = columnOf(parameter("group"));
  const sort = sortOf(parameter("sort"));
  const of = columnOf(sort.id);
  const sortedBy = of?.isOrdered ? undefined : of;
  return {
    place,
    filter,
    ids,
    columns,
    group,
    sort,
    sortedBy,
    orderBy: sortedBy ? NEWEST_FIRST : `${sort.id}${sort.isDescending ? " desc" : ""}`,
    isWhole: Boolean(group ?? sortedBy),
    most: sortedBy?.metric ? MOST_BY_METRIC : MOST_WHOLE,
    paths: readMask([...columns, ...(group ? [group] : []), ...(of ? [of] : [])]),
    newest,
    keys,
    touches,
  };
}

/** The columns of the address, or the first ones; with `differ` those of the config are all that differ. */
function shownIds(first: readonly string[], keys: Keys | undefined): string[] {
  const named = splitNames(parameter("columns"));
  const ids = named.length ? named : [...first];
  if (parameter("differ") !== "1" || !keys) return ids;
  const different = differing(keys);
  const isConfig = (id: string) => id.startsWith("config.");
  const at = ids.findIndex(isConfig);
  const kept = ids.filter((id) => !isConfig(id) || different.includes(id));
  const added = different.filter((id) => !kept.includes(id));
  const place = at < 0 ? kept.length : Math.min(at, kept.length);
  return [...kept.slice(0, place), ...added, ...kept.slice(place)];
}

function sortOf(text: string): { id: string; isDescending: boolean } {
  const id = text.replace(/ desc$/, "");
  return id ? { id, isDescending: id !== text } : { id: "create_time", isDescending: true };
}
