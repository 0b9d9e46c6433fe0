// Where a key leads along the entries of a menu, a tab list, or another row of things that is one stop of the Tab key.

const NEXT = { vertical: ["ArrowUp", "ArrowDown"], horizontal: ["ArrowLeft", "ArrowRight"] } as const;

/** The entry that a key leads to; undefined for keys without a meaning there. A letter finds what begins with it. */
export function nextEntry(
  entries: readonly HTMLElement[],
  at: number,
  key: string,
  direction: keyof typeof NEXT = "vertical",
): HTMLElement | undefined {
  const last = entries.length - 1;
  const [back, forth] = NEXT[direction];
  if (key === forth) return entries[at >= last ? 0 : at + 1];
  if (key === back) return entries[at <= 0 ? last : at - 1];
  if (key === "Home") return entries[0];
  if (key === "End") return entries[last];
  if (direction === "horizontal" || key.length !== 1 || key === " ") return undefined;
  const after = [...entries.slice(at + 1), ...entries.slice(0, at + 1)];
  return after.find((entry) => entry.textContent?.trim().toLowerCase().startsWith(key.toLowerCase()));
}
