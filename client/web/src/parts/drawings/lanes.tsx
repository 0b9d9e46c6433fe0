// Which version held which alias when: a lane for each alias, from the first change to now.
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { AliasChange } from "../../gen/modelyard/v1/alias_pb";

const LANE = 32;
const BAR = 22;
const NARROWEST_LABELLED = 5;

interface Span {
  version: string;
  from: number;
  to: number;
}

export function Lanes({ changes, names }: { changes: readonly AliasChange[]; names: readonly string[] }) {
  const times = changes.map(timeOf);
  const first = Math.min(...times);
  const now = Date.now();
  const length = Math.max(1, now - first);
  return (
    <div class="lanes">
      <svg class="plot lanes-svg" height={names.length * LANE} role="img" aria-label={`Which version held ${names.join(", ")}`}>
        {names.map((name, lane) => (
          <Lane key={name} name={name} top={lane * LANE + 2} spans={spansOf(changes, name, first, now)} first={first} length={length} />
        ))}
      </svg>
    </div>
  );
}

function Lane({ name, top, spans, first, length }: { name: string; top: number; spans: readonly Span[]; first: number; length: number }) {
  const main = name === "production" ? " on" : "";
  return (
    <>
      <text class={`lab${main}`} x="-8" y={top + 15} text-anchor="end">
        {name.length > 11 ? `${name.slice(0, 10)}…` : name}
      </text>
      {spans.map((span) => {
        const left = ((span.from - first) / length) * 100;
        const width = Math.max(0.4, ((span.to - span.from) / length) * 100);
        return (
          <g key={span.from}>
            <rect class={`lane${main}`} x={`${left}%`} y={top} width={`${width}%`} height={BAR} rx="3">
              <title>{`${name}: ${span.version}`}</title>
            </rect>
            {width > NARROWEST_LABELLED && (
              <text class={`lab${main}`} x={`${left}%`} dx="6" y={top + 15}>
                {span.version}
              </text>
            )}
          </g>
        );
      })}
    </>
  );
}

/** The times in which an alias stood on a version, oldest first. */
export function spansOf(changes: readonly AliasChange[], name: string, first: number, now: number): Span[] {
  const own = changes.filter((change) => change.alias === name).sort((a, b) => Number(a.sequence - b.sequence));
  return own
    .map((change, number) => {
      const next = own[number + 1];
      return { version: change.version, from: Math.max(first, timeOf(change)), to: next ? timeOf(next) : now };
    })
    .filter((span) => span.version !== "");
}

function timeOf(change: AliasChange): number {
  return change.createTime ? timestampDate(change.createTime).getTime() : 0;
}
