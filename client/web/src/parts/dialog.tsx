// A dialog at the right edge; on a phone it comes from below. The focus returns to what opened it.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import type { Failure } from "../wire/failure";
import { Icon } from "./icon";
import { Failed } from "./states";

interface Props {
  title: string;
  close: () => void;
  /** The label of the button that does it; a dialog has the name of its button. */
  act: string;
  onAct: () => void;
  canAct?: boolean;
  isBusy?: boolean;
  failure?: Failure | undefined;
  broad?: boolean;
  back?: { label: string; go: () => void };
  children: ComponentChildren;
}

export function Dialog({ title, close, act, onAct, canAct = true, isBusy, failure, broad, back, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    dialog.current?.querySelector<HTMLElement>("[data-first]")?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      class={`sheet${broad ? " broad" : ""}`}
      ref={dialog}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onClick={(event) => event.target === dialog.current && close()}
    >
      <form
        class="sheet-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (canAct && !isBusy) onAct();
        }}
      >
        <div class="top">
          <h2 id={id}>{title}</h2>
          <button type="button" class="btn bare icon push" aria-label="Close" onClick={close}>
            <Icon name="cross" />
          </button>
        </div>
        <div class="body">
          {children}
          {failure && <Failed failure={failure} />}
        </div>
        <div class="foot">
          <button type="button" class="btn bare" onClick={back ? back.go : close}>
            {back ? back.label : "Cancel"}
          </button>
          <button type="submit" class="btn go push" disabled={!canAct || isBusy}>
            {act}
          </button>
        </div>
      </form>
    </dialog>
  );
}
