// Tabs that are links: arrows, Home and End move the focus, Enter and Space open, and the digits open each at once.
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { navigate } from "../routes";
import { nextEntry } from "./keyboard/entries";
import { useKeys } from "./keyboard/keys";

export interface Tab {
  key: string;
  href: string;
  content: ComponentChildren;
}

export function Tabs({ label, tabs, at }: { label: string; tabs: readonly Tab[]; at: string }) {
  const list = useRef<HTMLDivElement>(null);
  const open = (number: number) => {
    const tab = tabs[number - 1];
    if (!tab) return false;
    navigate(tab.href);
  };
  useKeys({ 1: () => open(1), 2: () => open(2), 3: () => open(3), 4: () => open(4), 5: () => open(5), 6: () => open(6) });

  const onKey = (event: KeyboardEvent) => {
    const entries = [...(list.current?.querySelectorAll<HTMLElement>("[role=tab]") ?? [])];
    const focused = entries.indexOf(document.activeElement as HTMLElement);
    const next = nextEntry(entries, focused, event.key, "horizontal");
    if (next) next.focus();
    else if (event.key === " ") entries[focused]?.click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} ref={list} onKeyDown={onKey}>
      {tabs.map((tab) => (
        <a key={tab.key} role="tab" href={tab.href} aria-selected={tab.key === at} tabIndex={tab.key === at ? 0 : -1}>
          {tab.content}
        </a>
      ))}
    </div>
  );
}
