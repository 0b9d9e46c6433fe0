// Who looks at the page, and which entity's things are shown.
import { signal } from "@preact/signals";
import type { Caller } from "../gen/modelyard/v1/server_pb";
import { server } from "./clients";
import { type Failure, failureOf } from "./failure";

export const caller = signal<Caller | undefined>(undefined);
export const callerFailure = signal<Failure | undefined>(undefined);

export async function askCaller(): Promise<void> {
  try {
    caller.value = (await server.getCaller({})).caller;
    callerFailure.value = undefined;
  } catch (error) {
    caller.value = undefined;
    callerFailure.value = failureOf(error);
  }
}
