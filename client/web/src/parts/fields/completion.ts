// What may follow in a filter of docs/searching.md, at a place in its text.

export interface FilterField {
  /** As it is written in a filter. */
  name: string;
  /** What it is, in a word. */
  hint: string;
  /** What it is compared with, as it is written; empty where anything may follow. */
  values?: readonly string[];
}

export interface Completion {
  /** The part of the text that an option replaces. */
  from: number;
  to: number;
  options: readonly { text: string; hint: string }[];
}

const TOKEN = /\s+|!=|<=|>=|[=<>:()]|(?:"(?:[^"\\]|\\.)*(?:"|$)|'(?:[^'\\]|\\.)*(?:'|$)|[^\s=!<>:()"'])+|./gsu;
const OPERATORS: readonly [string, string][] = [
  ["=", "is"],
  ["!=", "is not"],
  ["<", "less than"],
  ["<=", "at most"],
  [">", "more than"],
  [">=", "at least"],
  [":", "contains; with * has a value"],
];
const MOST = 50;

type Expected = "field" | "operator" | "value" | "join";

/** The options at a place of the text. */
export function completed(text: string, caret: number, fields: readonly FilterField[]): Completion {
  const { expected, field, begun } = read(text.slice(0, caret));
  const found = optionsOf(expected, fields.find((one) => one.name === field), fields);
  const sought = begun.toLowerCase();
  const options = found.filter((option) => option.text.toLowerCase().includes(sought) && option.text !== begun);
  const startsSo = (option: { text: string }) => Number(!option.text.toLowerCase().startsWith(sought));
  return { from: caret - begun.length, to: caret, options: options.sort((a, b) => startsSo(a) - startsSo(b)).slice(0, MOST) };
}

/** What is expected at the end of the text, after which field, and the word that is begun there. */
function read(before: string): { expected: Expected; field: string; begun: string } {
  let expected: Expected = "field";
  let field = "";
  const tokens = before.match(TOKEN) ?? [];
  for (const [at, token] of tokens.entries()) {
    if (/^\s/.test(token) || token === "(" || token === ")") continue;
    const isOperator = /^[=!<>:]+$/.test(token);
    if (at === tokens.length - 1 && !(isOperator && expected === "operator")) return { expected, field, begun: token };
    if (expected === "field") {
      if (token === "NOT") continue;
      [field, expected] = [token, "operator"];
    } else if (expected === "operator") expected = "value";
    else expected = expected === "value" ? "join" : "field";
  }
  return { expected, field, begun: "" };
}

function optionsOf(expected: Expected, field: FilterField | undefined, fields: readonly FilterField[]): { text: string; hint: string }[] {
  switch (expected) {
    case "field":
      return [...fields.map((one) => ({ text: one.name, hint: one.hint })), { text: "NOT", hint: "what does not match" }];
    case "operator":
      return OPERATORS.map(([text, hint]) => ({ text, hint }));
    case "value":
      return (field?.values ?? []).map((text) => ({ text, hint: "" }));
    case "join":
      return [
        { text: "AND", hint: "both hold" },
        { text: "OR", hint: "one holds" },
      ];
  }
}
