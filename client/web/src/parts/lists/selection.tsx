// What is selected in a list: by its boxes, by Shift for all rows between two, or by the keys x and X.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { Icon } from "../icon";
import { useKeys } from "../keyboard/keys";

export interface Selection {
  /** What is selected, in the order of the list. */
  ids: readonly string[];
  has: (id: string) => boolean;
  toggle: (id: string, isRange: boolean) => void;
  /** Selects all of these, or none of them. */
  set: (ids: readonly string[], isOn: boolean) => void;
  clear: () => void;
}

/** The selection in a list of these ids. What leaves the list is not selected any more; Escape clears it. */
export function useSelection(order: readonly string[]): Selection {
  const chosen = useSignal<ReadonlySet<string>>(new Set());
  const last = useRef("");
  const clear = () => {
    chosen.value = new Set();
  };
  const toggle = (id: string, isRange: boolean) => {
    const isOn = !chosen.value.has(id);
    const next = new Set(order.filter((one) => chosen.value.has(one)));
    for (const one of isRange ? between(order, last.current, id) : [id]) {
      if (isOn) next.add(one);
      else next.delete(one);
    }
    last.current = id;
    chosen.value = next;
  };
  const set = (some: readonly string[], isOn: boolean) => {
    const next = new Set(chosen.value);
    for (const one of some) {
      if (isOn) next.add(one);
      else next.delete(one);
    }
    chosen.value = next;
  };
  const ids = order.filter((id) => chosen.value.has(id));
  useKeys({ Escape: () => (ids.length ? clear() : false) });
  return { ids, has: (id) => chosen.value.has(id), toggle, set, clear };
}

/** From one id to another, in either direction; without the first only the other. */
export function between(order: readonly string[], from: string, to: string): readonly string[] {
  const [first, second] = [order.indexOf(from), order.indexOf(to)];
  if (first < 0) return [to];
  return order.slice(Math.min(first, second), Math.max(first, second) + 1);
}

export function SelectBox({ selection, id, label }: { selection: Selection; id: string; label: string }) {
  return (
    <input
      type="checkbox"
      aria-label={`Select ${label}`}
      checked={selection.has(id)}
      onClick={(event) => selection.toggle(id, event.shiftKey)}
    />
  );
}

/** The attributes of a row that can be selected: Shift click selects up to it. */
export function selectable(selection: Selection, id: string) {
  return {
    "aria-selected": selection.has(id),
    onMouseDown: (event: MouseEvent) => {
      if (event.shiftKey) event.preventDefault(); // else the browser marks the text between the clicks
    },
    onClick: (event: MouseEvent) => {
      const isOwn = event.target instanceof Element && !event.target.closest("a, button, input, label, select");
      if (event.shiftKey && isOwn) selection.toggle(id, true);
    },
  };
}

/** The bar below a list that says how much is selected and has what can be done with it. */
export function SelectionBar({ selection, children }: { selection: Selection; children: ComponentChildren }) {
  const count = selection.ids.length;
  return (
    <>
      <span class="vh" role="status">
        {count ? `${count} selected` : ""}
      </span>
      {count > 0 && (
        <div class="pickbar" role="region" aria-label="Selection">
          <span>
            <strong class="tab">{count}</strong> selected
          </span>
          {children}
          <button type="button" class="btn bare icon push" aria-label="Clear the selection" title="Clear the selection" onClick={selection.clear}>
            <Icon name="cross" />
          </button>
        </div>
      )}
    </>
  );
}
