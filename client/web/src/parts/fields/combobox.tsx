// A choice of one among many, as the ARIA practices describe it: a button that opens a list that can be searched. A letter
// on the button opens the list with what begins the search.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { Icon } from "../icon";

export interface Choice {
  value: string;
  /** What the choice is found by. */
  text: string;
  content: ComponentChildren;
  shown?: ComponentChildren;
}

interface Props {
  label: string;
  value: string;
  choices: readonly Choice[];
  choose: (value: string) => void;
  placeholder: string;
  isFirst?: boolean;
}

const SEARCHED_FROM = 8;
const MOST_SHOWN = 200;

export function Combobox({ label, value, choices, choose, placeholder, isFirst }: Props) {
  const [isOpen, setOpen] = useState(false);
  const [sought, setSought] = useState("");
  const [at, setAt] = useState(0);
  const id = useId();
  const host = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const chosen = choices.find((choice) => choice.value === value);
  const found = choices.filter((choice) => choice.text.toLowerCase().includes(sought.toLowerCase())).slice(0, MOST_SHOWN);

  const open = (text = "") => {
    setSought(text);
    setAt(text ? 0 : Math.max(0, choices.findIndex((choice) => choice.value === value)));
    setOpen(true);
  };
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  const take = (choice: Choice | undefined) => {
    if (choice) choose(choice.value);
    close();
  };
  useEffect(() => {
    if (!isOpen) return;
    input.current?.focus();
    const outside = (event: Event) => {
      if (!(event.target instanceof Node && host.current?.contains(event.target))) setOpen(false);
    };
    addEventListener("pointerdown", outside);
    return () => removeEventListener("pointerdown", outside);
  }, [isOpen]);
  useEffect(() => host.current?.querySelector(".on")?.scrollIntoView({ block: "nearest" }), [at, isOpen]);

  const onKey = (event: KeyboardEvent) => {
    const steps: Record<string, () => void> = {
      ArrowDown: () => setAt(Math.min(at + 1, found.length - 1)),
      ArrowUp: () => setAt(Math.max(at - 1, 0)),
      Home: () => setAt(0),
      End: () => setAt(found.length - 1),
      Enter: () => take(found[at]),
      Escape: close,
    };
    const step = steps[event.key];
    if (event.key === "Tab") setOpen(false);
    if (!step) return;
    step();
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="combo" ref={host}>
      <div class="field">
        <span class="label" id={`${id}-label`}>
          {label}
        </span>
        <button
          type="button"
          class="pick"
          id={`${id}-button`}
          ref={button}
          aria-haspopup="listbox"
          aria-expanded={isOpen}
          aria-labelledby={`${id}-label ${id}-button`}
          data-first={isFirst ? "" : undefined}
          onClick={() => (isOpen ? close() : open())}
          onKeyDown={(event) => {
            const isText = event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey && !event.altKey;
            if (isText) open(event.key);
            else if (event.key === "ArrowDown" || event.key === "ArrowUp") open();
            else return;
            event.preventDefault();
          }}
        >
          {chosen ? (chosen.shown ?? chosen.content) : <span class="faint">{placeholder}</span>}
          <Icon name="down" small class="push" />
        </button>
      </div>
      {isOpen && (
        <div class="menu">
          <input
            ref={input}
            class={choices.length > SEARCHED_FROM ? "in" : "vh"}
            role="combobox"
            aria-label={`Search ${label}`}
            aria-expanded="true"
            aria-controls={`${id}-list`}
            aria-activedescendant={found[at] ? `${id}-${at}` : undefined}
            placeholder="Search"
            value={sought}
            onInput={(event) => {
              setSought(event.currentTarget.value);
              setAt(0);
            }}
            onKeyDown={onKey}
          />
          <ul role="listbox" id={`${id}-list`} aria-label={label}>
            {found.map((choice, number) => (
              <li
                key={choice.value}
                id={`${id}-${number}`}
                role="option"
                aria-selected={choice.value === value}
                class={number === at ? "on" : ""}
                onClick={() => take(choice)}
              >
                {choice.content}
                {choice.value === value ? <Icon name="check" class="push" /> : <span class="gap-i push" />}
              </li>
            ))}
          </ul>
          {!found.length && <p class="hint none-found">Nothing is found</p>}
        </div>
      )}
    </div>
  );
}
