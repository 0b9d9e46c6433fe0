// Rows of a long list: only those near the window of the browser are in the document, gaps stand for the others.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

interface Props {
  /** The element that holds the rows. */
  as: "tbody" | "ul" | "div";
  /** How many columns the rows of a table have. */
  columns?: number;
  /** How many rows there are, read or not. */
  count: number;
  /** The height of a row in pixels, as long as none was measured. All rows have the same. */
  height: number;
  /** The row of an index, from 0, with a key of its own. It may be a skeleton while the row is not read. */
  row: (index: number) => ComponentChildren;
  /** Is told how many rows have to be read: the index after the last one in the document. */
  need?: (count: number) => void;
}

/** Rows beyond both edges of the window, so that a short scroll and the next key find theirs. */
const AHEAD = 12;
/** The rows in the document change by so many at a time, so that most scrolling renders nothing. */
const STEP = 8;
const GAPS = { tbody: "tr", ul: "li", div: "div" } as const;

export function Windowed({ as: Host, columns = 1, count, height: assumed, row, need }: Props) {
  const host = useRef<HTMLElement>(null);
  const [height, setHeight] = useState(assumed);
  const [[from, to], setRange] = useState<readonly [number, number]>([0, Math.ceil(innerHeight / assumed) + AHEAD]);
  const first = Math.min(from, Math.max(0, count - 1));
  const end = Math.min(to, count);

  const look = () => {
    if (!host.current) return;
    const { top } = host.current.getBoundingClientRect();
    const low = Math.max(0, STEP * Math.floor((-top / height - AHEAD) / STEP));
    const high = Math.max(low, STEP * Math.ceil(((innerHeight - top) / height + AHEAD) / STEP));
    setRange((now) => (now[0] === low && now[1] === high ? now : [low, high]));
  };
  useLayoutEffect(() => {
    const found = host.current && heightOf(host.current);
    if (found && Math.abs(found - height) > 0.5) setHeight(found);
    look();
  });
  useEffect(() => need?.(end), [end, need]);
  useEffect(() => {
    // Captured: whichever element scrolls, the rows may move.
    document.addEventListener("scroll", look, { capture: true, passive: true });
    addEventListener("resize", look);
    return () => {
      document.removeEventListener("scroll", look, { capture: true });
      removeEventListener("resize", look);
    };
  }, [height]);
  return (
    // A ref of one of three elements: each is an HTMLElement.
    <Host ref={host as never}>
      <Gap of={Host} columns={columns} height={first * height} />
      {Array.from({ length: Math.max(0, end - first) }, (_, number) => row(first + number))}
      <Gap of={Host} columns={columns} height={(count - end) * height} />
    </Host>
  );
}

/** The mean height of the rows in the document; undefined where there is none, or where they are hidden. */
function heightOf(host: HTMLElement): number | undefined {
  const rows = [...host.children].filter((one) => !one.hasAttribute("data-gap"));
  const [first, last] = [rows[0], rows[rows.length - 1]];
  if (!first || !last) return undefined;
  return (last.getBoundingClientRect().bottom - first.getBoundingClientRect().top) / rows.length || undefined;
}

/** Set by script, since the content policy forbids styles in markup. */
function Gap({ of, columns, height }: { of: Props["as"]; columns: number; height: number }) {
  const Room = GAPS[of];
  if (height <= 0) return null;
  return (
    <Room data-gap aria-hidden="true" ref={(element: HTMLElement | null) => element?.style.setProperty("height", `${height}px`)}>
      {of === "tbody" && <td class="gap" colSpan={columns} />}
    </Room>
  );
}
