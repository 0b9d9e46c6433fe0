// The crosshair of a chart by the keyboard: from point to point, or to either end.
import type uPlot from "uplot";

/** Moves the crosshair for an arrow, Home or End; Escape hides it. False for keys without a meaning here. */
export function moveCrosshair(plot: uPlot, key: string): boolean {
  const [first, last] = plot.series[0]?.idxs ?? [0, 0];
  const isShown = (plot.cursor.left ?? -1) >= 0;
  const at = isShown ? (plot.cursor.idx ?? undefined) : undefined;
  const next: Record<string, number> = {
    ArrowLeft: at === undefined ? last : Math.max(at - 1, first),
    ArrowRight: at === undefined ? first : Math.min(at + 1, last),
    Home: first,
    End: last,
  };
  const index = next[key];
  if (index !== undefined) show(plot, index);
  else if (key === "Escape" && isShown) hideCrosshair(plot);
  else return false;
  return true;
}

export function hideCrosshair(plot: uPlot): void {
  plot.setCursor({ left: -1, top: -1 });
}

function show(plot: uPlot, index: number): void {
  const x = plot.data[0][index];
  if (x === undefined) return;
  const top = plot.cursor.top ?? -1;
  plot.setCursor({ left: plot.valToPos(x, "x"), top: top >= 0 ? top : plot.over.clientHeight / 2 });
}
