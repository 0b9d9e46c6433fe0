// Parts of filters, in the language of docs/searching.md.

/** A text as a filter has it. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}
