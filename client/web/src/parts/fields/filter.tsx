// The field for a filter in the language of docs/searching.md. Enter or leaving it applies the text. With `fields` it
// proposes what may follow, as a combobox of the ARIA practices.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../icon";
import { completed, type FilterField as Field } from "./completion";

interface Props {
  placeholder: string;
  value: string;
  change: (text: string) => void;
  /** What can be filtered by. */
  fields?: readonly Field[];
  /** Why the filter was refused; "" where it was not. */
  problem?: string;
}

export function FilterField({ placeholder, value, change, fields, problem = "" }: Props) {
  const [text, setText] = useState(value);
  const [caret, setCaret] = useState(0);
  const [isOpen, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  /** Where the caret goes once the text is there. */
  const moved = useRef<number | undefined>(undefined);
  const list = useRef<HTMLUListElement>(null);
  const id = useId();
  useEffect(() => setText(value), [value]);
  useLayoutEffect(() => {
    if (moved.current !== undefined) input.current?.setSelectionRange(moved.current, moved.current);
    moved.current = undefined;
  });
  useEffect(() => list.current?.querySelector(".on")?.scrollIntoView({ block: "nearest" }), [at]);
  const completion = isOpen && fields ? completed(text, caret, fields) : undefined;
  const options = completion?.options ?? [];
  const apply = () => {
    setOpen(false);
    if (text.trim() !== value) change(text.trim());
  };
  const take = (number: number) => {
    const option = options[number];
    if (!completion || !option) return;
    const before = `${text.slice(0, completion.from)}${option.text} `;
    setText(before + text.slice(completion.to).trimStart());
    setCaret(before.length);
    setAt(-1);
    moved.current = before.length;
  };
  const look = (open: boolean) => {
    setCaret(input.current?.selectionStart ?? 0);
    setOpen(open);
    setAt(-1);
  };
  const onKey = (event: KeyboardEvent) => {
    const last = options.length - 1;
    const steps: Record<string, (() => void) | undefined> = {
      ArrowDown: last >= 0 ? () => setAt(at >= last ? 0 : at + 1) : () => look(true),
      ArrowUp: last >= 0 ? () => setAt(at <= 0 ? last : at - 1) : undefined,
      Enter: at >= 0 ? () => take(at) : apply,
      Tab: at >= 0 ? () => take(at) : undefined,
      Escape: last >= 0 ? () => setOpen(false) : undefined,
    };
    const step = steps[event.key];
    if (!step) return;
    step();
    event.preventDefault();
    event.stopPropagation();
  };
  const combobox = fields
    ? ({
        role: "combobox",
        "aria-expanded": options.length > 0,
        "aria-controls": `${id}-list`,
        "aria-autocomplete": "list",
        "aria-activedescendant": options[at] ? `${id}-${at}` : undefined,
      } as const)
    : {};
  return (
    <div class="filter-in">
      <label class="with">
        <span class="vh">Filter</span>
        <Icon name="filter" />
        <input
          ref={input}
          class={`in mono${problem ? " bad" : ""}`}
          data-filter
          placeholder={placeholder}
          spellcheck={false}
          autocomplete="off"
          value={text}
          aria-invalid={problem ? true : undefined}
          aria-describedby={problem ? `${id}-problem` : undefined}
          {...combobox}
          onInput={(event) => {
            setText(event.currentTarget.value);
            look(true);
          }}
          onClick={() => look(true)}
          onBlur={apply}
          onKeyDown={onKey}
        />
      </label>
      {options.length > 0 && (
        <ul class="menu completion" role="listbox" id={`${id}-list`} aria-label="What may follow" ref={list}>
          {options.map((option, number) => (
            <li
              key={option.text}
              id={`${id}-${number}`}
              role="option"
              aria-selected={number === at}
              class={number === at ? "on" : ""}
              // Before the field loses the focus, which would apply what is written so far.
              onPointerDown={(event) => {
                event.preventDefault();
                take(number);
              }}
            >
              <span class="mono">{option.text}</span>
              <span class="end faint">{option.hint}</span>
            </li>
          ))}
        </ul>
      )}
      {problem && (
        <p class="hint bad" role="alert" id={`${id}-problem`}>
          {problem}
        </p>
      )}
    </div>
  );
}
