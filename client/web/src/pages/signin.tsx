// The way in: a key for a session that this browser keeps, or what to do where no key is taken.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId } from "preact/hooks";
import { Bones } from "../parts/states";
import { askCaller, caller } from "../wire/caller";

/** How one signs in, as GET /session says. */
type SignIn = "key" | "link" | "https";

export function SignInPage() {
  const how = useSignal<SignIn | undefined>(undefined);
  useEffect(() => {
    void askHow().then((found) => (how.value = found));
  }, []);
  if (!how.value) return <main class="solo">{<Bones />}</main>;
  if (how.value === "link") {
    return (
      <NoKey title="Opened by a command">
        This page belongs to the owner of the server's folder. <code>modelyard web</code> opens it, and prints a link that works once.
      </NoKey>
    );
  }
  // Browsers keep a session where nobody else can read it: over TLS, and on this machine.
  if (how.value === "https" || !window.isSecureContext) {
    return (
      <NoKey title="Not over plain HTTP">
        Others on the network could read your key here. Open this page by an address that begins with <code>https://</code>. An administrator gives the server
        a certificate: <code>--tls-cert</code>, or a proxy that has one.
      </NoKey>
    );
  }
  return <KeyForm />;
}

async function askHow(): Promise<SignIn> {
  try {
    const { signIn } = (await (await fetch("/session")).json()) as { signIn?: unknown };
    return signIn === "link" || signIn === "https" ? signIn : "key";
  } catch {
    return "key"; // the form says what is wrong
  }
}

function NoKey({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <main class="solo">
      <div class="stack gap-4">
        <h1>{title}</h1>
        <p>{children}</p>
      </div>
    </main>
  );
}

function KeyForm() {
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
      if (response.ok) {
        await askCaller();
        if (!caller.value) problem.value = "The key is right, but this browser did not keep the session: it refuses this server's cookie.";
      } else problem.value = await messageOf(response);
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
