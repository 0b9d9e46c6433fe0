// Commands and code to copy.
import { useState } from "preact/hooks";
import { Icon } from "./icon";
import { copy } from "./text";

export interface Snippet {
  name: string;
  text: string;
}

export function Code({ name, text }: Snippet) {
  return (
    <div class="code">
      <pre tabIndex={0} aria-label={name}>
        <code>{text}</code>
      </pre>
      <CopyButton name={name} text={text} />
    </div>
  );
}

/** The same thing said in several languages. */
export function Snippets({ snippets }: { snippets: readonly Snippet[] }) {
  const [at, setAt] = useState(0);
  const shown = snippets[at] ?? snippets[0];
  if (!shown) return null;
  return (
    <div class="code">
      <div class="bar-2" role="group" aria-label="Language">
        {snippets.map((snippet, number) => (
          <button type="button" key={snippet.name} aria-pressed={number === at} onClick={() => setAt(number)}>
            {snippet.name}
          </button>
        ))}
      </div>
      <pre tabIndex={0} aria-label={`Usage in ${shown.name}`}>
        <code>{shown.text}</code>
      </pre>
      <CopyButton name={shown.name} text={shown.text} />
    </div>
  );
}

function CopyButton({ name, text }: Snippet) {
  return (
    <button type="button" class="btn bare icon" aria-label={`Copy ${name}`} onClick={() => void copy(text)}>
      <Icon name="copy" />
    </button>
  );
}
