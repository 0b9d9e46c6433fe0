// A dialog that does something, at the right edge; on a phone it comes from below.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { type Failure, failureOf } from "../../wire/failure";
import { touchAll } from "../../wire/queries";
import { Icon } from "../icon";
import { Failed } from "../states";
import { toast } from "../toast";
import { Modal } from "./modal";

interface Props {
  title: string;
  close: () => void;
  /** The label of the button that does it; a dialog has the name of its button. */
  act: string;
  /**
   * Does it, and gives the sentence that says so: the dialog closes. Undefined keeps it open. What it throws is shown
   * in the dialog, which can be tried again.
   */
  onAct: () => Promise<ComponentChildren> | undefined;
  canAct?: boolean;
  broad?: boolean;
  danger?: boolean;
  back?: { label: string; go: () => void };
  children: ComponentChildren;
}

export function Dialog({ title, close, act, onAct, canAct = true, broad, danger, back, children }: Props) {
  const id = useId();
  const isBusy = useSignal(false);
  const failure = useSignal<Failure | undefined>(undefined);
  const submit = async () => {
    if (!canAct || isBusy.value) return;
    isBusy.value = true;
    failure.value = undefined;
    try {
      const done = await onAct();
      if (done === undefined) return;
      touchAll();
      toast(done);
      close();
    } catch (error) {
      failure.value = failureOf(error);
    } finally {
      isBusy.value = false;
    }
  };
  return (
    <Modal class={`sheet${broad ? " broad" : ""}`} labelledBy={id} close={close}>
      <form
        class="sheet-form"
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
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
          {failure.value && <Failed failure={failure.value} />}
        </div>
        <div class="foot">
          <button type="button" class="btn bare" onClick={back ? back.go : close}>
            {back ? back.label : "Cancel"}
          </button>
          <button type="submit" class={`btn go push${danger ? " danger" : ""}`} disabled={!canAct || isBusy.value}>
            {act}
          </button>
        </div>
      </form>
    </Modal>
  );
}
