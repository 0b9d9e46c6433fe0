// Values of metadata and config as text.
import type { AnyValue } from "../gen/modelyard/v1/value_pb";

export function textOf(value: AnyValue | undefined): string {
  const kind = value?.kind;
  switch (kind?.case) {
    case "boolValue":
    case "stringValue":
      return String(kind.value);
    case "intValue":
      return kind.value.toString();
    case "doubleValue":
      return numberText(kind.value);
    case "listValue":
      return `[${kind.value.values.map(textOf).join(", ")}]`;
    case "mapValue":
      return `{${Object.entries(kind.value.entries)
        .map(([key, one]) => `${key}: ${textOf(one)}`)
        .join(", ")}}`;
    case "nullValue":
      return "null";
    default:
      return "—";
  }
}

/** A number with up to six digits; very large and very small ones with an exponent. */
export function numberText(number: number): string {
  if (!Number.isFinite(number)) return String(number).replace("-", "−");
  const size = Math.abs(number);
  const text = size && (size < 1e-4 || size >= 1e9) ? number.toExponential(3).replace(/\.?0+e/, "e") : String(Number(number.toPrecision(6)));
  return text.replace("-", "−");
}

/** A number with few digits, for tables; whole and large ones as they are. */
export function shortText(number: number, digits = 4): string {
  return Number.isInteger(number) || Math.abs(number) >= 10 ** digits ? numberText(number) : numberText(Number(number.toPrecision(digits)));
}

export function numberOf(value: AnyValue | undefined): number | undefined {
  if (value?.kind.case === "intValue") return Number(value.kind.value);
  return value?.kind.case === "doubleValue" ? value.kind.value : undefined;
}

const KINDS = ["best", "last", "max", "min", "mean", "first"];

/** The value of a metric in a summary: define_metric may keep several, as `{best, last}`. */
export function ofMetric(value: AnyValue | undefined): AnyValue | undefined {
  if (value?.kind.case !== "mapValue") return value;
  const { entries } = value.kind.value;
  const kind = KINDS.find((one) => one in entries);
  return kind ? entries[kind] : value;
}

/** The entries of maps in maps, by dotted names. Media are left out: they are shown as what they are. */
export function flattened(values: Readonly<Record<string, AnyValue>>, prefix = ""): [string, AnyValue][] {
  return Object.entries(values)
    .sort(([a], [b]) => a.localeCompare(b))
    .filter(([, value]) => !(value.kind.case === "mapValue" && "_type" in value.kind.value.entries))
    .flatMap(([key, value]) =>
      value.kind.case === "mapValue" ? flattened(value.kind.value.entries, `${prefix}${key}.`) : [[`${prefix}${key}`, value] as [string, AnyValue]],
    );
}

/** A number of seconds as hours, minutes and seconds, the two largest of them. */
export function durationText(seconds: number): string {
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount);
  if (first < 0) return "0s";
  return parts.slice(first, first + 2).map(([amount, unit]) => `${amount}${unit}`).join(" ");
}
