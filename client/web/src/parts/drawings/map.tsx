// A lineage as a drawing: moved by dragging or scrolling, sized by buttons, + and −, or Ctrl and the wheel. What is beyond
// a node can be hidden and shown; only what is in sight is in the document.
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Icon } from "../icon";
import { type Graph, type Limits, limitKey, type MapNode, type Rest, shownAround, type Side, SIDES } from "./graph";
import { HEIGHT, laidOut, type Layout, REST_HEIGHT, REST_WIDTH, restId, WIDTH } from "./layout";

/** Neighbours of a node that are shown on a side before anybody has clicked, and how many a click adds. */
const USUAL = 12;
const MORE = 100;
const SMALLEST = 0.1;
const LARGEST = 2;
const STEP = 1.25;
/** What is drawn beyond the edges of the window, in pixels, and how far one scrolls until it is drawn anew. */
const AHEAD = 600;
const GRAIN = 300;
const LONGEST = 25;

interface Window {
  left: number;
  top: number;
  width: number;
  height: number;
}

export function LineageMap({ graph, centre }: { graph: Graph; centre: string }) {
  const [limits, setLimits] = useState<Limits>(new Map());
  const [showsAll, setShowsAll] = useState(false);
  const shown = useMemo(() => shownAround(graph, centre, limits, showsAll ? Infinity : USUAL), [graph, centre, limits, showsAll]);
  const layout = useMemo(() => laidOut(shown), [shown]);
  const setLimit = (id: string, side: Side, limit: number) => setLimits(new Map(limits).set(limitKey(id, side), limit));
  const showEverything = (all: boolean) => {
    setLimits(new Map());
    setShowsAll(all);
  };
  const view = useView(layout, centre);
  return (
    <>
      <div class="tools">
        <span class="hint">
          {shown.nodes.length < graph.nodes.size && `${shown.nodes.length.toLocaleString("en")} of `}
          {graph.nodes.size.toLocaleString("en")} runs and versions
        </span>
        <span class="push row">
          {(shown.rests.length > 0 || showsAll) && (
            <button type="button" class="btn" aria-pressed={showsAll} onClick={() => showEverything(!showsAll)}>
              {showsAll ? "Show less" : "Show all"}
            </button>
          )}
          <button type="button" class="btn icon" aria-label="Smaller" disabled={view.scale <= SMALLEST} onClick={() => view.zoom(1 / STEP)}>
            −
          </button>
          <button type="button" class="btn icon" aria-label="Larger" disabled={view.scale >= LARGEST} onClick={() => view.zoom(STEP)}>
            <Icon name="plus" />
          </button>
          <button type="button" class="btn" onClick={view.fit}>
            Fit
          </button>
        </span>
      </div>
      <div class="map" ref={view.host} tabIndex={0} role="region" aria-label="Lineage map" {...view.handlers}>
        <svg
          width={layout.width * view.scale}
          height={layout.height * view.scale}
          viewBox={`0 0 ${layout.width} ${layout.height}`}
          role="group"
          aria-label={`${shown.nodes.length} runs and versions`}
        >
          <Drawn layout={layout} room={view.room} centre={centre} open={shown.open} setLimit={setLimit} />
        </svg>
      </div>
    </>
  );
}

interface DrawnProps {
  layout: Layout;
  room: Window;
  centre: string;
  open: ReadonlySet<string>;
  setLimit: (id: string, side: Side, limit: number) => void;
}

/** What is in sight. */
function Drawn({ layout, room, centre, open, setLimit }: DrawnProps) {
  const right = room.left + room.width;
  const bottom = room.top + room.height;
  const isSeen = ({ x, y }: { x: number; y: number }) => x + WIDTH > room.left && x - WIDTH < right && y + HEIGHT > room.top && y - HEIGHT < bottom;
  return (
    <>
      {layout.wires
        .filter((wire) => wire.x > room.left && wire.left < right && wire.bottom > room.top && wire.top < bottom)
        .map((wire) => (
          <g key={wire.id}>
            <path class="wire" d={wire.path} />
            <path class="tip-end" d={`M${wire.x - 8} ${wire.y - 4}l8 4-8 4z`} />
          </g>
        ))}
      {layout.nodes.filter(isSeen).map((node) => (
        <Node key={node.id} node={node} isOn={node.id === centre}>
          {SIDES.filter((side) => open.has(limitKey(node.id, side))).map((side) => (
            <Hide key={side} node={node} side={side} hide={() => setLimit(node.id, side, 0)} />
          ))}
        </Node>
      ))}
      {layout.rests.filter(isSeen).map((rest) => (
        <RestButton key={restId(rest)} rest={rest} show={() => setLimit(rest.of, rest.side, rest.shown ? rest.shown + MORE : USUAL)} />
      ))}
    </>
  );
}

type Placed = MapNode & { x: number; y: number };

function Node({ node, isOn, children }: { node: Placed; isOn: boolean; children: preact.ComponentChildren }) {
  const [left, top] = [node.x - WIDTH / 2, node.y - HEIGHT / 2];
  return (
    <>
      <a class={`node ${node.kind}${isOn ? " on" : ""}`} href={node.href} aria-current={isOn ? "true" : undefined}>
        <title>{[node.title, node.second, ...node.links].join("\n")}</title>
        <rect x={left} y={top} width={WIDTH} height={HEIGHT} rx={node.kind === "run" ? HEIGHT / 2 : 6} />
        <text class="t" x={left + 16} y={top + 22}>
          {shortened(node.title)}
        </text>
        <text x={left + 16} y={top + 40}>
          {shortened(node.links[0] ? `linked as ${node.links[0].split("/").pop() ?? ""}` : node.second)}
        </text>
      </a>
      {children}
    </>
  );
}

/** Hides what is shown beyond a node on one of its sides. */
function Hide({ node, side, hide }: { node: Placed; side: Side; hide: () => void }) {
  const x = node.x + (side === "up" ? -WIDTH / 2 : WIDTH / 2);
  const label = `Hide what ${node.title} ${side === "up" ? "was made from" : "was used for"}`;
  return (
    <g class="hide" {...asButton(label, hide)}>
      <title>{label}</title>
      <circle cx={x} cy={node.y} r="8" />
      <path d={`M${x - 3.5} ${node.y}h7`} />
    </g>
  );
}

function RestButton({ rest, show }: { rest: Rest & { x: number; y: number }; show: () => void }) {
  const text = `${rest.count.toLocaleString("en")} ${rest.shown ? "more" : "hidden"}`;
  return (
    <g class="rest" {...asButton(`Show ${text}`, show)}>
      <rect x={rest.x - REST_WIDTH / 2} y={rest.y - REST_HEIGHT / 2} width={REST_WIDTH} height={REST_HEIGHT} rx={REST_HEIGHT / 2} />
      <text x={rest.x} y={rest.y + 4} text-anchor="middle">
        {text}
      </text>
    </g>
  );
}

function asButton(label: string, act: () => void) {
  return {
    role: "button",
    tabIndex: 0,
    "aria-label": label,
    onClick: act,
    onKeyDown: (event: KeyboardEvent) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      act();
    },
  } as const;
}

function shortened(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 8)}…${text.slice(-7)}` : text;
}

/** The size of the drawing and the part of it that is in sight. */
function useView(layout: Layout, centre: string) {
  const host = useRef<HTMLDivElement>(null);
  const [scale, setScale] = useState(1);
  const [room, setRoom] = useState<Window>({ left: 0, top: 0, width: 2_000, height: 2_000 });
  /** A point of the drawing, and where in the window it is to be. */
  const fixed = useRef<{ x: number; y: number; left: number; top: number } | undefined>(undefined);
  const held = useRef<{ x: number; y: number; left: number; top: number } | undefined>(undefined);

  const look = () => {
    const element = host.current;
    if (!element) return;
    const next = windowOf(element, scale);
    setRoom((now) => (now.left === next.left && now.top === next.top && now.width === next.width && now.height === next.height ? now : next));
  };
  useLayoutEffect(() => {
    const element = host.current;
    const node = layout.nodes.find((one) => one.id === centre);
    if (!element || !node) return;
    element.scrollLeft = node.x * scale - element.clientWidth / 2;
    element.scrollTop = node.y * scale - element.clientHeight / 2;
    // Only at first: whoever has moved the drawing wants to stay there.
  }, [centre]);
  useLayoutEffect(() => {
    const element = host.current;
    if (element && fixed.current) {
      element.scrollLeft = fixed.current.x * scale - fixed.current.left;
      element.scrollTop = fixed.current.y * scale - fixed.current.top;
      fixed.current = undefined;
    }
    look();
  }, [scale, layout]);

  const zoomAt = (factor: number, left: number, top: number) => {
    const element = host.current;
    const next = Math.min(LARGEST, Math.max(SMALLEST, scale * factor));
    if (!element || next === scale) return;
    fixed.current = { x: (element.scrollLeft + left) / scale, y: (element.scrollTop + top) / scale, left, top };
    setScale(next);
  };
  const zoom = (factor: number) => zoomAt(factor, (host.current?.clientWidth ?? 0) / 2, (host.current?.clientHeight ?? 0) / 2);
  const fit = () => {
    const element = host.current;
    if (element) setScale(Math.max(SMALLEST, Math.min(1, element.clientWidth / layout.width, element.clientHeight / layout.height)));
  };
  const handlers = {
    onScroll: look,
    onWheel: (event: WheelEvent) => {
      if (!event.ctrlKey || !host.current) return;
      event.preventDefault();
      const { left, top } = host.current.getBoundingClientRect();
      zoomAt(event.deltaY < 0 ? STEP : 1 / STEP, event.clientX - left, event.clientY - top);
    },
    onKeyDown: (event: KeyboardEvent) => {
      if (event.key === "+" || event.key === "=") zoom(STEP);
      else if (event.key === "-") zoom(1 / STEP);
      else if (event.key === "0") fit();
    },
    onPointerDown: (event: PointerEvent) => {
      const element = host.current;
      // A finger scrolls by itself.
      if (!element || event.pointerType === "touch" || (event.target instanceof Element && event.target.closest("a, [role=button]"))) return;
      held.current = { x: event.clientX, y: event.clientY, left: element.scrollLeft, top: element.scrollTop };
      element.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent) => {
      const [from, element] = [held.current, host.current];
      if (!from || !element) return;
      element.scrollLeft = from.left - (event.clientX - from.x);
      element.scrollTop = from.top - (event.clientY - from.y);
    },
    onPointerUp: () => (held.current = undefined),
    onPointerCancel: () => (held.current = undefined),
  };
  return { host, scale, room, zoom, fit, handlers };
}

/** What is in sight and around it, in units of the drawing; in steps, so that most scrolling draws nothing. */
function windowOf(element: HTMLElement, scale: number): Window {
  const low = (at: number) => (Math.floor(at / GRAIN) * GRAIN - AHEAD) / scale;
  const long = (size: number) => (size + GRAIN + 2 * AHEAD) / scale;
  return { left: low(element.scrollLeft), top: low(element.scrollTop), width: long(element.clientWidth), height: long(element.clientHeight) };
}
