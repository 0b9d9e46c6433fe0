// A menu behind a button: arrows, Home, End, the first letter, Escape.
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icon";
import { nextEntry } from "./keyboard/entries";

export interface MenuItem {
  label: string;
  icon: string;
  act: () => void;
  danger?: boolean;
}

export function Menu({ label, items }: { label: string; items: readonly MenuItem[] }) {
  const [isOpen, setOpen] = useState(false);
  const [isFromEnd, setFromEnd] = useState(false);
  const host = useRef<HTMLSpanElement>(null);
  const close = (focus: boolean) => {
    setOpen(false);
    if (focus) host.current?.querySelector("button")?.focus();
  };
  useEffect(() => {
    if (!isOpen) return;
    [...(host.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])].at(isFromEnd ? -1 : 0)?.focus();
    const outside = (event: Event) => {
      if (!(event.target instanceof Node && host.current?.contains(event.target))) close(false);
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [isOpen]);

  const open = (fromEnd: boolean) => {
    setFromEnd(fromEnd);
    setOpen(true);
  };
  const onButtonKey = (event: KeyboardEvent) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    open(event.key === "ArrowUp");
    event.preventDefault();
  };
  const onKey = (event: KeyboardEvent) => {
    const entries = [...(host.current?.querySelectorAll<HTMLElement>("[role=menuitem]") ?? [])];
    const next = nextEntry(entries, entries.indexOf(document.activeElement as HTMLElement), event.key);
    event.stopPropagation(); // letters find entries here, whatever they do in the view
    if (event.key === "Escape") close(true);
    else if (event.key === "Tab") close(false);
    else if (next) next.focus();
    if (event.key === "Escape" || next) event.preventDefault();
  };
  return (
    <span class="host" ref={host}>
      <button
        type="button"
        class="btn bare icon"
        aria-label={`More for ${label}`}
        aria-haspopup="menu"
        aria-expanded={isOpen}
        onClick={() => (isOpen ? close(true) : open(false))}
        onKeyDown={onButtonKey}
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
