// What stands in the place of content: it loads, it failed, or there is none.
import type { ComponentChildren } from "preact";
import type { Failure } from "../wire/failure";
import { touchAll } from "../wire/queries";
import { Icon } from "./icon";

/** Grey lines in the form of what comes. */
export function Bones({ lines = 6, label = "Loading" }: { lines?: number; label?: string }) {
  return (
    <div class="bones" aria-busy="true" aria-label={label} role="status">
      {Array.from({ length: lines }, (_, number) => (
        <i key={number} />
      ))}
    </div>
  );
}

export function Failed({ failure }: { failure: Failure }) {
  return (
    <div class="note bad" role="alert">
      <Icon name="warn" />
      <div class="stack">
        <strong>{failure.title}</strong>
        <span>
          {failure.text}
          {failure.reason && <span class="faint mono"> {failure.reason}</span>}
        </span>
        {failure.isAway && (
          <span>
            <button type="button" class="btn" onClick={() => touchAll()}>
              Try again
            </button>
          </span>
        )}
      </div>
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty-view">
      <strong>{title}</strong>
      {children && <div class="mute">{children}</div>}
    </div>
  );
}
