// The rows of lists for the keys: which one has the focus, which comes next.
const LINKS = "main tbody a.name, main .tree a";

/** The links of the rows that can be seen, in the order of the page. */
function links(): HTMLAnchorElement[] {
  return [...document.querySelectorAll<HTMLAnchorElement>(LINKS)].filter((link) => link.checkVisibility());
}

/** The link of the row in which the focus is. */
export function focusedRow(): HTMLAnchorElement | undefined {
  const row = document.activeElement?.closest("tr, li");
  return row ? (row.querySelector<HTMLAnchorElement>(LINKS) ?? undefined) : undefined;
}

/** Moves the focus along the rows; from outside of them to the first, or backwards to the last. */
export function step(by: 1 | -1): void {
  const rows = links();
  const row = focusedRow();
  const at = row ? rows.indexOf(row) : -1;
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
  rows[Math.min(Math.max(next, 0), rows.length - 1)]?.focus();
}

/** Ticks the row with the focus, or with `isRange` all from the one that was ticked last up to it. False without a box. */
export function tickRow(isRange: boolean): void | false {
  const row = document.activeElement?.closest("tr, li");
  const box = row?.querySelector("input[type=checkbox]");
  if (!box || box.closest("tr, li") !== row) return false; // else it is one of a list within the row
  box.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true, shiftKey: isRange }));
}
