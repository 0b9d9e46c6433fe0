// Times, sizes, refs and digests as the page writes them.
import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";
import { signal } from "@preact/signals";
import { Icon } from "./icon";
import { toast } from "./toast";

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["second", 60],
  ["minute", 60],
  ["hour", 24],
  ["day", 7],
  ["week", 4],
];
const MINUTE_MS = 60_000;
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const onDay = new Intl.DateTimeFormat("en", { day: "numeric", month: "long" });
const onDayOfYear = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric" });
/** Changes each minute, so that relative times stay true. */
const minute = signal(Date.now());
setInterval(() => (minute.value = Date.now()), MINUTE_MS);

/** A time, relative up to four weeks and then the date, with the exact one as a tooltip. */
export function Time({ at }: { at: Timestamp | undefined }) {
  if (!at) return <>—</>;
  const date = timestampDate(at);
  const exact = date.toISOString().replace(/\.\d+Z$/, "Z");
  return (
    <time dateTime={exact} title={exact}>
      {ago(date, minute.value)}
    </time>
  );
}

export function ago(date: Date, now: number): string {
  let amount = (date.getTime() - now) / 1000;
  if (Math.abs(amount) < 10) return "now";
  for (const [unit, next] of UNITS) {
    if (Math.abs(amount) < next) return relative.format(Math.trunc(amount), unit);
    amount /= next;
  }
  const thisYear = date.getFullYear() === new Date(now).getFullYear();
  return (thisYear ? onDay : onDayOfYear).format(date);
}

/** A number of bytes in decimal units, with three digits. */
export function bytes(count: bigint | number): string {
  let rest = Number(count);
  if (rest < 1000) return `${rest} B`;
  for (const unit of ["KB", "MB", "GB", "TB", "PB"]) {
    rest /= 1000;
    if (rest < 999.5 || unit === "PB") return `${rest.toPrecision(3).replace(/\.?0+$/, (zeros) => (zeros.startsWith(".") ? "" : zeros))} ${unit}`;
  }
  return "";
}

export function count(amount: number | bigint, noun: string): string {
  return `${Number(amount).toLocaleString("en")} ${noun}${Number(amount) === 1 ? "" : "s"}`;
}

/** Text that a click copies. `shown` stands for it where it is long. */
export function Copied({ text, shown, what = "copy" }: { text: string; shown?: string; what?: string }) {
  return (
    <button type="button" class="copy mono" title={`Copy ${text}`} onClick={() => void copy(text)}>
      <span>{shown ?? text}</span>
      <Icon name="copy" small />
      <span class="vh"> {what}</span>
    </button>
  );
}

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    toast("The browser does not let this page copy");
  }
}

export function shortDigest(digest: string): string {
  return `${digest.slice(0, 12)}…${digest.slice(-5)}`;
}
