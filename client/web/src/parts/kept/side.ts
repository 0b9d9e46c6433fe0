// Whether the bar at the side is folded to its icons; kept in the browser.
import { signal } from "@preact/signals";
import { keep, kept } from "./kept";

export const isFolded = signal(kept("side") === "folded");

export function fold(): void {
  isFolded.value = !isFolded.value;
  keep("side", isFolded.value ? "folded" : "");
}
