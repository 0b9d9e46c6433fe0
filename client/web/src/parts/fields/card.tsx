// The field for a card in Markdown, with what it looks like beside it.
import { useId } from "preact/hooks";
import { Markdown } from "../markdown";

interface Props {
  value: string;
  change: (text: string) => void;
  rows: number;
  hint: string;
  isFirst?: boolean;
}

export function CardField({ value, change, rows, hint, isFirst }: Props) {
  const id = useId();
  return (
    <div class="fields even">
      <div class="field">
        <div class="row">
          <label for={id}>Card</label>
          <span class="hint">{hint}</span>
        </div>
        <textarea
          class="in mono"
          id={id}
          rows={rows}
          data-first={isFirst ? "" : undefined}
          value={value}
          onInput={(event) => change(event.currentTarget.value)}
        />
      </div>
      <div class="field">
        <span class="label" id={`${id}-preview`}>
          Preview
        </span>
        <div class="preview" role="region" aria-labelledby={`${id}-preview`}>
          <Markdown text={value} />
        </div>
      </div>
    </div>
  );
}
