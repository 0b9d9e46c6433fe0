// The state of a run: a shape and a word.
import { RunState } from "../gen/modelyard/v1/run_pb";

export const STATE_WORDS: Partial<Record<RunState, string>> = {
  [RunState.RUNNING]: "running",
  [RunState.FINISHED]: "finished",
  [RunState.FAILED]: "failed",
  [RunState.CRASHED]: "crashed",
  [RunState.KILLED]: "killed",
};

const SHAPES: Partial<Record<RunState, preact.ComponentChildren>> = {
  [RunState.RUNNING]: (
    <>
      <circle cx="8" cy="8" r="5.5" stroke-dasharray="20 15" />
      <circle cx="8" cy="8" r="1.75" fill="currentColor" />
    </>
  ),
  [RunState.FINISHED]: <path d="m3 8.5 3.25 3.25L13 4.75" />,
  [RunState.FAILED]: <path d="m4 4 8 8M12 4l-8 8" />,
  [RunState.CRASHED]: <path d="M8 2.5 14 13H2zM8 6.5v3M8 11.4v.1" />,
  [RunState.KILLED]: <rect x="4" y="4" width="8" height="8" rx="1" />,
};

/** With `isIcon` the word is for those who do not see the shape, and a tooltip. */
export function StateMark({ state, isIcon }: { state: RunState; isIcon?: boolean }) {
  const word = STATE_WORDS[state] ?? "";
  return (
    <span class={`state ${word}`} title={isIcon ? word : undefined}>
      <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
        {SHAPES[state]}
      </svg>
      {isIcon ? <span class="vh">{word}</span> : word}
    </span>
  );
}
