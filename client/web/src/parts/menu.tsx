// A menu behind a button: arrows, Home, End, the first letter, Escape.
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icon";

export interface MenuItem {
  label: string;
  icon: string;
  act: () => void;
  danger?: boolean;
}

export function Menu({ label, items }: { label: string; items: readonly MenuItem[] }) {
  const [isOpen, setOpen] = useState(false);
  const host = useRef<HTMLSpanElement>(null);
  const close = (focus: boolean) => {
    setOpen(false);
    if (focus) host.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (!isOpen) return;
    host.current?.querySelector<HTMLElement>("[role=menuitem]")?.focus();
    const outside = (event: Event) => {
      if (!(event.target instanceof Node && host.current?.contains(event.target))) close(false);
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [isOpen]);

  const onKey = (event: KeyboardEvent) => {
    const entries = [...(host.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const next = nextEntry(entries, entries.indexOf(document.activeElement as HTMLElement), event.key);
    if (event.key === "Escape") close(true);
    else if (event.key === "Tab") close(false);
    else if (next) next.focus();
    else return;
    if (event.key !== "Tab") event.preventDefault();
    event.stopPropagation();
  };
  return (
    <span class="host" ref={host}>
      <button
        type="button"
        class="btn bare icon"
        aria-label={`More for ${label}`}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        <Icon name="more" />
      </button>
      {isOpen && (
        <div class="menu" role="menu" aria-label={label} onKeyDown={onKey}>
          {items.map((item) => (
            <button
              type="button"
              role="menuitem"
              tabIndex={-1}
              key={item.label}
              class={item.danger ? "del" : ""}
              onClick={() => {
                close(true);
                item.act();
              }}
            >
              <Icon name={item.icon} />
              {item.label}
            </button>
          ))}
        </div>
      )}
    </span>
  );
}

/** Where a key leads in a list; undefined for keys without a meaning there. */
export function nextEntry(entries: readonly HTMLElement[], at: number, key: string): HTMLElement | undefined {
  const last = entries.length - 1;
  if (key === "ArrowDown") return entries[at >= last ? 0 : at + 1];
  if (key === "ArrowUp") return entries[at <= 0 ? last : at - 1];
  if (key === "Home") return entries[0];
  if (key === "End") return entries[last];
  if (key.length !== 1 || key === " ") return undefined;
  const after = [...entries.slice(at + 1), ...entries.slice(0, at + 1)];
  return after.find((entry) => entry.textContent?.trim().toLowerCase().startsWith(key.toLowerCase()));
}
