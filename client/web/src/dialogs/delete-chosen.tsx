// The dialog that deletes what is selected in a list, after a question. What the server refuses is named and stays.
import { useSignal } from "@preact/signals";
import { Icon } from "../parts/icon";
import { Dialog } from "../parts/dialog/dialog";
import { count } from "../parts/text";
import { type Failure, failureOf } from "../wire/failure";
import { touchAll } from "../wire/queries";

export interface Doomed {
  id: string;
  name: string;
}

interface Props {
  /** One of them, such as "registered model". */
  noun: string;
  items: readonly Doomed[];
  /** What is lost with them. */
  consequence: string;
  /** The label of the choice to delete also what is in use, such as versions with aliases. */
  force: string;
  remove: (id: string, force: boolean) => Promise<unknown>;
  close: () => void;
}

interface Refusal {
  item: Doomed;
  failure: Failure;
}

const SHOWN = 20;

export function DeleteChosen({ noun, items, consequence, force, remove, close }: Props) {
  const left = useSignal(items);
  const refused = useSignal<readonly Refusal[]>([]);
  const isForced = useSignal(false);
  const title = `Delete ${count(left.value.length, noun)}`;

  const act = async () => {
    refused.value = [];
    const all = left.value;
    for (const item of all) {
      try {
        await remove(item.id, isForced.value);
        left.value = left.value.filter((one) => one.id !== item.id);
      } catch (error) {
        refused.value = [...refused.value, { item, failure: failureOf(error) }];
      }
    }
    if (!left.value.length) return `Deleted ${count(all.length, noun)}`;
    touchAll();
    return undefined;
  };
  return (
    <Dialog title={title} act={title} close={close} onAct={act} danger>
      <p>{consequence} This cannot be undone.</p>
      <ul class="doomed">
        {left.value.slice(0, SHOWN).map((item) => (
          <li key={item.id}>
            <span class="mono">{item.name}</span>
            {refused.value
              .filter((one) => one.item.id === item.id)
              .map(({ failure }) => (
                <p class="hint bad" role="alert" key={item.id}>
                  <Icon name="warn" small /> {failure.text} <span class="mono">{failure.reason}</span>
                </p>
              ))}
          </li>
        ))}
        {left.value.length > SHOWN && <li class="mute">and {left.value.length - SHOWN} more</li>}
      </ul>
      <label class="choice">
        <input type="checkbox" data-first checked={isForced.value} onChange={(event) => (isForced.value = event.currentTarget.checked)} />
        {force}
      </label>
    </Dialog>
  );
}
