// Chooses the columns of the table of runs and their order.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../../parts/icon";
import { useKeys } from "../../parts/keyboard/keys";
import { columnOf, FIELD_IDS } from "./columns";
import type { Keys } from "./reading";

interface Props {
  chosen: readonly string[];
  /** The columns of the address; none means the usual ones again. */
  choose: (ids: readonly string[]) => void;
  keys: Keys | undefined;
  /** The names of metrics, whose extremes can be columns. */
  metrics: readonly string[];
  onlyDifferent: boolean;
  setOnlyDifferent: (isOn: boolean) => void;
}

const MOST_SHOWN = 100;

export function ColumnsMenu({ chosen, choose, keys, metrics, onlyDifferent, setOnlyDifferent }: Props) {
  const [isOpen, setOpen] = useState(false);
  const [sought, setSought] = useState("");
  const host = useRef<HTMLDivElement>(null);
  // Before the next key: it belongs to the menu.
  useLayoutEffect(() => {
    if (!isOpen) return;
    host.current?.querySelector<HTMLElement>("input")?.focus();
    const outside = (event: Event) => {
      if (!(event.target instanceof Node && host.current?.contains(event.target))) setOpen(false);
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [isOpen]);
  const close = () => {
    setOpen(false);
    host.current?.querySelector("button")?.focus();
  };
  const move = (at: number, by: number) => {
    const ids = [...chosen];
    ids.splice(at + by, 0, ...ids.splice(at, 1));
    choose(ids);
  };
  const all = [...FIELD_IDS, ...(keys?.fields ?? []).map((key) => key.name), ...metrics.flatMap((name) => [`min(${name})`, `max(${name})`])];
  const typed = sought.trim();
  const isNew = columnOf(typed) && !all.includes(typed);
  const others = [...(isNew ? [typed] : []), ...all].filter((id) => !chosen.includes(id) && nameOf(id).toLowerCase().includes(typed.toLowerCase()));
  return (
    <div class="host columns-menu" ref={host}>
      <button type="button" class="btn" aria-haspopup="dialog" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name="columns" />
        Columns
      </button>
      {isOpen && (
        <div class="menu" role="dialog" aria-label="Columns">
          <EscapeKey close={close} />
          <input class="in" aria-label="Search columns" placeholder="config.lr, min(loss)" value={sought} onInput={(event) => setSought(event.currentTarget.value)} onKeyDown={(event) => event.key === "Escape" && (event.preventDefault(), close())} />
          <label class="row">
            <input type="checkbox" checked={onlyDifferent} onChange={(event) => setOnlyDifferent(event.currentTarget.checked)} />
            Only config that differs
          </label>
          <ol class="column-list" aria-label="Shown columns">
            {chosen.map((id, at) => (
              <li key={id}>
                <label class="fold">
                  <input type="checkbox" checked onChange={() => choose(chosen.filter((one) => one !== id))} />
                  <span class="fold">{nameOf(id)}</span>
                </label>
                <button type="button" class="btn bare icon" aria-label={`Move ${nameOf(id)} up`} disabled={at === 0} onClick={() => move(at, -1)}>
                  <Icon name="up" small />
                </button>
                <button type="button" class="btn bare icon" aria-label={`Move ${nameOf(id)} down`} disabled={at === chosen.length - 1} onClick={() => move(at, 1)}>
                  <Icon name="down" small />
                </button>
              </li>
            ))}
          </ol>
          <ul class="column-list" aria-label="Other columns">
            {others.slice(0, MOST_SHOWN).map((id) => (
              <li key={id}>
                <label class="fold">
                  <input type="checkbox" checked={false} onChange={() => choose([...chosen, id])} />
                  <span class="fold">{nameOf(id)}</span>
                </label>
              </li>
            ))}
          </ul>
          {others.length > MOST_SHOWN && <p class="hint">and {others.length - MOST_SHOWN} more: search for them</p>}
          <button type="button" class="btn bare" onClick={() => choose([])}>
            The usual columns
          </button>
        </div>
      )}
    </div>
  );
}

/** Escape wherever the focus is: a button that was used last may be disabled now and have lost it. */
function EscapeKey({ close }: { close: () => void }) {
  useKeys({ Escape: close });
  return null;
}

/** What a column is called in the menu: its label, or its name where that says more. */
function nameOf(id: string): string {
  return FIELD_IDS.includes(id) ? (columnOf(id)?.label ?? id) : id;
}
