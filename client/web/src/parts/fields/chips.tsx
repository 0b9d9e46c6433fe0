// A field of several short words, such as aliases or tags: Enter or a comma adds one, Backspace takes the last.
import { useId, useState } from "preact/hooks";

interface Props {
  label: string;
  placeholder: string;
  values: readonly string[];
  change: (values: string[]) => void;
  kind: "alias" | "tag";
  hint?: string;
}

export function Chips({ label, placeholder, values, change, kind, hint }: Props) {
  const [text, setText] = useState("");
  const id = useId();
  const add = () => {
    const value = text.trim();
    if (value && !values.includes(value)) change([...values, value]);
    setText("");
  };
  return (
    <div class="field">
      <label for={id}>
        {label} <span class="hint">optional</span>
      </label>
      <div class="chips">
        {values.map((value) => (
          <span class={kind} key={value}>
            {value}
            <button type="button" class="chip-x" aria-label={`Remove ${value}`} onClick={() => change(values.filter((one) => one !== value))}>
              ×
            </button>
          </span>
        ))}
        <input
          id={id}
          placeholder={placeholder}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onBlur={add}
          onKeyDown={(event) => {
            if ((event.key === "Enter" && text.trim()) || event.key === ",") {
              event.preventDefault();
              add();
            } else if (event.key === "Backspace" && !text) {
              change(values.slice(0, -1));
            }
          }}
        />
      </div>
      {hint && <p class="hint">{hint}</p>}
    </div>
  );
}
