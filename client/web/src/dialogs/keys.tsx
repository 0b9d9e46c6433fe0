// The dialog of all keys, with the switch for those of one character.
import { useId } from "preact/hooks";
import { Modal } from "../parts/dialog/modal";
import { Icon } from "../parts/icon";
import { capsOf, KEY_GROUPS } from "../parts/keyboard/all-keys";
import { hasLetters, switchLetters } from "../parts/keyboard/keys";

export function KeysDialog({ close }: { close: () => void }) {
  const id = useId();
  return (
    <Modal class="keys-dialog" labelledBy={id} close={close}>
      <div class="keys-top">
        <h2 id={id}>Keys</h2>
        <button type="button" class="btn bare icon push" aria-label="Close" data-first onClick={close}>
          <Icon name="cross" />
        </button>
      </div>
      <div class="keys-body">
        {KEY_GROUPS.map((group) => (
          <section key={group.title}>
            <h3>{group.title}</h3>
            <dl>
              {group.entries.map((entry) => (
                <div key={entry.does}>
                  <dt>
                    {entry.names.flatMap(capsOf).map((cap) => (
                      <kbd key={cap}>{cap}</kbd>
                    ))}
                  </dt>
                  <dd>{entry.does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <label class="choice keys-foot">
        <input type="checkbox" checked={hasLetters.value} onChange={(event) => switchLetters(event.currentTarget.checked)} />
        <span>
          Letters, digits and signs are keys
          <span class="two">Outside of fields. Off: only {capsOf("mod+k")}, Esc, Enter and arrows.</span>
        </span>
      </label>
    </Modal>
  );
}
