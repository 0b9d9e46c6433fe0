// A line at the bottom that says what was done.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { Icon } from "./icon";

const SHOWN_MS = 6_000;
const shown = signal<ComponentChildren>(undefined);
let ending: ReturnType<typeof setTimeout> | undefined;

export function toast(content: ComponentChildren): void {
  clearTimeout(ending);
  shown.value = content;
  ending = setTimeout(() => (shown.value = undefined), SHOWN_MS);
}

export function Toast() {
  return (
    <div role="status" aria-live="polite">
      {shown.value !== undefined && (
        <div class="toast">
          <span>{shown.value}</span>
          <button type="button" class="btn bare icon" aria-label="Close" onClick={() => (shown.value = undefined)}>
            <Icon name="cross" />
          </button>
        </div>
      )}
    </div>
  );
}
