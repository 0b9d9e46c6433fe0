// Keys that work outside of fields: `/` goes to the filter, `j` and `k` along the rows, `g r` to the registry.
import { hrefs, navigate } from "../routes";

const TOGETHER_MS = 1_000;
let beforeAt = 0;
let before = "";

export function startKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    const pair = performance.now() - beforeAt < TOGETHER_MS ? before + event.key : "";
    [before, beforeAt] = [event.key, performance.now()];
    if (act(event.key, pair)) event.preventDefault();
  });
}

function act(key: string, pair: string): boolean {
  if (pair === "gr") navigate(hrefs.registry());
  else if (key === "/") document.querySelector<HTMLElement>("[data-filter]")?.focus();
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else return false;
  return true;
}

function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>("tbody a.name")];
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
  rows[Math.min(Math.max(next, 0), rows.length - 1)]?.focus();
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
