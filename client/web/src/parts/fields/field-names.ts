// Names of fields in the language of filters, such as config.lr and summary."two words".min.
const PART = /"(?:[^"\\]|\\.)*"|[^."\s]+/gu;
const PLAIN = /^[\p{L}\p{N}_/-]+$/u;

/** The parts of a name, without their quotes. */
export function partsOf(field: string): string[] {
  return (field.match(PART) ?? []).map((part) => (part.startsWith('"') ? part.slice(1, -1).replace(/\\(.)/gu, "$1") : part));
}

/** A key as it stands in a name. */
export function quoted(key: string): string {
  return PLAIN.test(key) ? key : `"${key.replace(/["\\]/gu, "\\$&")}"`;
}

/** Splits at commas outside of quotes, and leaves out what is empty. */
export function splitNames(text: string): string[] {
  return (text.match(/(?:"(?:[^"\\]|\\.)*"|[^,"]|")+/gu) ?? []).map((one) => one.trim()).filter(Boolean);
}
