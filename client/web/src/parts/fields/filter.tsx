// The field for a filter in the language of docs/searching.md. Enter or leaving it applies the text.
import { useEffect, useState } from "preact/hooks";
import { Icon } from "../icon";

interface Props {
  placeholder: string;
  value: string;
  change: (text: string) => void;
}

export function FilterField({ placeholder, value, change }: Props) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  const apply = () => text.trim() !== value && change(text.trim());
  return (
    <label class="with filter-in">
      <span class="vh">Filter</span>
      <Icon name="filter" />
      <input
        class="in mono"
        data-filter
        placeholder={placeholder}
        spellcheck={false}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onBlur={apply}
        onKeyDown={(event) => event.key === "Enter" && apply()}
      />
    </label>
  );
}
