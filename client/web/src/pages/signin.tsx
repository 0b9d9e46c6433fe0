// The way in: a key for a session that this browser keeps.
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import { askCaller } from "../wire/caller";

export function SignInPage() {
  const key = useSignal("");
  const problem = useSignal("");
  const isBusy = useSignal(false);
  const id = useId();
  const signIn = async () => {
    isBusy.value = true;
    problem.value = "";
    try {
      const response = await fetch("/session", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ key: key.value.trim() }),
      });
      if (response.ok) await askCaller();
      else problem.value = await messageOf(response);
    } catch {
      problem.value = "The server cannot be reached.";
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <main class="solo">
      <form
        class="stack gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          void signIn();
        }}
      >
        <h1>Sign in</h1>
        <div class="field">
          <label for={id}>API key</label>
          <input class={`in mono${problem.value ? " bad" : ""}`} id={id} type="password" autocomplete="off" autofocus value={key.value} onInput={(event) => (key.value = event.currentTarget.value)} aria-describedby={`${id}-hint`} />
          <p class={`hint${problem.value ? " bad" : ""}`} id={`${id}-hint`} role={problem.value ? "alert" : undefined}>
            {problem.value || (
              <>
                An administrator makes one: <code>modelyard server key create NAME</code>
              </>
            )}
          </p>
        </div>
        <button type="submit" class="btn go tall" disabled={!key.value.trim() || isBusy.value}>
          Sign in
        </button>
      </form>
    </main>
  );
}

async function messageOf(response: Response): Promise<string> {
  try {
    const body: unknown = await response.json();
    const message = (body as { message?: unknown }).message;
    if (typeof message === "string" && message) return message;
  } catch {
    // Not from our server: the status has to do.
  }
  return `The server refused it (${response.status}).`;
}
