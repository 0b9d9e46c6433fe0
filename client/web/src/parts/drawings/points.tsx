// A point for each of a row of things, joined by a line. A point leads to what it stands for.
import { numberText } from "../values";

export interface Point {
  name: string;
  value: number;
  href: string;
  /** What makes the point stand out, such as aliases. */
  marks: readonly string[];
}

interface Props {
  title: string;
  points: readonly Point[];
}

const HEIGHT = 156;
const EDGE = 4;
const MOST_NAMES = 7;
/** How near to each other the texts of two points may be, in percent. */
const MARK_WIDTH = 24;
const MARK_HEIGHT = 12;
const SMALL_FROM = 60;
const QUIET = "latest";

export function Points({ title, points }: Props) {
  if (!points.length) return <p class="mute">No version has {title}.</p>;
  const values = points.map((point) => point.value);
  const [low, high] = padded(Math.min(...values), Math.max(...values));
  const x = (index: number) => (points.length === 1 ? 50 : EDGE + (index * (100 - 2 * EDGE)) / (points.length - 1));
  const y = (value: number) => 100 - ((value - low) / (high - low)) * 100;
  const path = points.map((point, index) => `${index ? "L" : "M"}${x(index).toFixed(2)} ${y(point.value).toFixed(2)}`).join("");
  const step = Math.max(1, Math.ceil(points.length / MOST_NAMES));
  return (
    <figure class="chart">
      <figcaption>
        <span class="mono fold" title={title}>
          {title}
        </span>
        <span class="push">
          <b class="tab">{numberText(values[values.length - 1] ?? NaN)}</b>
        </span>
      </figcaption>
      <svg class="plot" height={HEIGHT} role="group" aria-label={summary(title, points)}>
        {ticks(low, high).map((tick) => (
          <g key={tick}>
            <line class="grid" x1="0" x2="100%" y1={`${y(tick)}%`} y2={`${y(tick)}%`} />
            <text class="ey" x="-6" y={`${y(tick)}%`} dy="4">
              {numberText(tick)}
            </text>
          </g>
        ))}
        {points.map((point, index) => index % step === 0 && <Name key={point.name} name={point.name} x={x(index)} />)}
        <svg width="100%" height="100%" viewBox="0 0 100 100" preserveAspectRatio="none">
          <path class="val c1" d={path} />
        </svg>
        {points.map((point, index) => (
          <Dot key={point.name} point={point} x={x(index)} y={y(point.value)} isSmall={points.length > SMALL_FROM} />
        ))}
        {apart(points.map((point, index) => ({ text: textOf(point), x: x(index), y: y(point.value) }))).map((mark) => (
          <Mark key={mark.x} {...mark} />
        ))}
      </svg>
    </figure>
  );
}

function Name({ name, x }: { name: string; x: number }) {
  return (
    <text class="ex" x={`${x}%`} y="100%" dy="16">
      {name}
    </text>
  );
}

function Dot({ point, x, y, isSmall }: { point: Point; x: number; y: number; isSmall: boolean }) {
  const isMarked = textOf(point) !== "";
  const label = [`${point.name}: ${numberText(point.value)}`, ...point.marks].join(", ");
  // The marked ones are found by the keyboard; all others too by the table of versions.
  return (
    <a href={point.href} aria-label={label} tabIndex={isMarked || !isSmall ? 0 : -1}>
      <circle class={`dot c1${isMarked ? " full" : ""}`} cx={`${x}%`} cy={`${y}%`} r={isSmall && !isMarked ? 1.5 : 3.5}>
        <title>{label}</title>
      </circle>
    </a>
  );
}

interface Marking {
  text: string;
  x: number;
  y: number;
}

function Mark({ text, x, y }: Marking) {
  const anchor = x < 20 ? "start" : x > 80 ? "end" : "middle";
  return (
    <text class="mark" x={`${x}%`} y={`${y}%`} dy={y < 15 ? 18 : -8} text-anchor={anchor}>
      {text}
    </text>
  );
}

function textOf(point: Point): string {
  return point.marks.filter((mark) => mark !== QUIET).join(", ");
}

/** The texts that have room, the newest first; the others are in the labels of their points. */
function apart(markings: readonly Marking[]): Marking[] {
  const placed: Marking[] = [];
  for (const one of [...markings].reverse()) {
    const collides = placed.some((other) => Math.abs(other.x - one.x) < MARK_WIDTH && Math.abs(other.y - one.y) < MARK_HEIGHT);
    if (one.text && !collides) placed.push(one);
  }
  return placed;
}

function summary(title: string, points: readonly Point[]): string {
  const [first, last] = [points[0], points[points.length - 1]];
  if (!first || !last) return title;
  return `${title}: from ${numberText(first.value)} at ${first.name} to ${numberText(last.value)} at ${last.name}`;
}

function padded(low: number, high: number): [number, number] {
  const room = (high - low) * 0.1 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

/** Two to five round numbers between two. */
export function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough) ?? rough;
  const found: number[] = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) found.push(Number(tick.toPrecision(12)));
  return found;
}
