// What went wrong with a call, in words that say what to do.
import { Code, ConnectError } from "@connectrpc/connect";

export interface Failure {
  title: string;
  text: string;
  /** One of the published reasons, such as ALIAS_CHANGED; "" where there is none. */
  reason: string;
  /** Whether the server could not be reached, and the same call may succeed later. */
  isAway: boolean;
  needsKey: boolean;
}

const TITLES: Partial<Record<string, string>> = {
  NOT_FOUND: "Not found",
  NOT_ALLOWED: "Not allowed",
  KEY_MISSING: "Sign in",
  KEY_INVALID: "Sign in again",
  ALIAS_CHANGED: "It changed while you looked",
  ETAG_MISMATCH: "It changed while you looked",
  INVALID_FILTER: "The filter cannot be read",
  ALREADY_EXISTS: "The name is taken",
};

export function failureOf(error: unknown): Failure {
  const known = ConnectError.from(error);
  const reason = reasonOf(known);
  const isAway = known.code === Code.Unavailable || (known.code === Code.Unknown && !reason);
  return {
    title: TITLES[reason] ?? (isAway ? "Not connected" : "That did not work"),
    text: isAway && !reason ? "The server cannot be reached." : sentence(known.rawMessage),
    reason,
    isAway,
    needsKey: known.code === Code.Unauthenticated,
  };
}

function reasonOf(error: ConnectError): string {
  for (const detail of error.details) {
    if (!("debug" in detail) || typeof detail.debug !== "object" || detail.debug === null) continue;
    const reason = (detail.debug as Record<string, unknown>)["reason"];
    if (typeof reason === "string") return reason;
  }
  return "";
}

function sentence(text: string): string {
  const begun = text.slice(0, 1).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
