// How a number went from version to version.
import { useEffect } from "preact/hooks";
import { sortedAliases } from "../../parts/alias";
import { type Point, Points } from "../../parts/drawings/points";
import { hrefs } from "../../routes";
import type { Choice, Metric } from "./metric";

const MOST = 2_000;

export function AcrossVersions({ metric }: { metric: Metric }) {
  const { versions, choices, key, name, choose, valueOf } = metric;
  // Again with each reading: the table may have read fewer rows of the same list.
  useEffect(() => versions.need(MOST), [versions.need, versions.value]);
  if (!key) return null;
  const rows = (versions.value?.rows ?? []).slice(0, MOST);
  const points = rows
    .flatMap((row): Point[] => {
      const value = valueOf(row);
      if (value === undefined || !Number.isFinite(value)) return [];
      const number = `v${row.number}`;
      return [{ name: number, value, href: hrefs.link(row.entity, row.project, row.name, number), marks: sortedAliases(row.aliases, (one) => one) }];
    })
    .reverse();
  return (
    <section class="sec">
      <div class="sec-head">
        <h2>Across versions</h2>
        <span class="push">
          <select class="in" aria-label="Number to show" value={key} onChange={(event) => choose(event.currentTarget.value)}>
            {!choices.some((one) => one.key === key) && <option value={key}>{name}</option>}
            {[...new Set(choices.map((one) => one.group))].map((group) => (
              <Group key={group} label={group} choices={choices.filter((one) => one.group === group)} />
            ))}
          </select>
        </span>
      </div>
      <Points title={name} points={points} />
      {(versions.value?.total ?? 0) > MOST && <p class="hint">The newest {MOST.toLocaleString("en")} versions.</p>}
    </section>
  );
}

function Group({ label, choices }: { label: string; choices: readonly Choice[] }) {
  return (
    <optgroup label={label}>
      {choices.map((one) => (
        <option key={one.key} value={one.key}>
          {one.name}
        </option>
      ))}
    </optgroup>
  );
}
