// What can be found.
import type { Timestamp } from "@bufbuild/protobuf/wkt";

export type PlaceKind = "project" | "model" | "link" | "artifact" | "version" | "run";

/** Something with an address in the page. */
export interface Place {
  kind: PlaceKind;
  title: string;
  /** Its ref, or where it is. */
  second: string;
  href: string;
}

export interface FoundPlace extends Place {
  at?: Timestamp | undefined;
  /** Whether its name, its ref or its id is what was typed. */
  isExact: boolean;
}
