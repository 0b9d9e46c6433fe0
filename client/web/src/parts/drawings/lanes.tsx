// Which version held which alias when: a lane for each alias, from the first change to now.
const LANE = 32;
const BAR = 22;
const NARROWEST_LABELLED = 5;

/** A time, in milliseconds since 1970, in which an alias stood on a version. */
export interface Span {
  version: string;
  from: number;
  to: number;
}

interface Props {
  lanes: readonly (readonly [name: string, spans: readonly Span[]])[];
  from: number;
  to: number;
}

export function Lanes({ lanes, from, to }: Props) {
  const names = lanes.map(([name]) => name);
  return (
    <div class="lanes">
      <svg class="plot lanes-svg" height={lanes.length * LANE} role="img" aria-label={`Which version held ${names.join(", ")}`}>
        {lanes.map(([name, spans], lane) => (
          <Lane key={name} name={name} top={lane * LANE + 2} spans={spans} first={from} length={Math.max(1, to - from)} />
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
