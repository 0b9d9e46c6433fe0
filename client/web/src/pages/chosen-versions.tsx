// The bar of selected versions, of an artifact or of a registered model: compare two, copy their refs, delete them.
import { useSignal } from "@preact/signals";
import { DeleteChosen } from "../dialogs/delete-chosen";
import { Icon } from "../parts/icon";
import { useKeys } from "../parts/keyboard/keys";
import { type Selection, SelectionBar } from "../parts/lists/selection";
import { copy } from "../parts/text";
import { type Holder, refOf } from "./version/siblings";

interface Props {
  chosen: readonly Holder[];
  selection: Selection;
  /** The address of the comparison of a version. */
  compare: (version: Holder) => string;
  deletion: {
    consequence: string;
    /** The label of the choice to delete also what is in use. */
    force: string;
    remove: (id: string, force: boolean) => Promise<unknown>;
  };
}

export function ChosenVersions({ chosen, selection, compare, deletion }: Props) {
  const isDeleting = useSignal(false);
  const copyRefs = () => void copy(chosen.map(refOf).join("\n"));
  useKeys({ c: () => (chosen.length ? copyRefs() : false) });
  const [newer, older] = chosen.toSorted((a, b) => Number(b.number - a.number));
  return (
    <>
      <SelectionBar selection={selection}>
        {newer && older && chosen.length === 2 && (
          <a class="btn go" href={`${compare(newer)}?with=${encodeURIComponent(refOf(older))}`}>
            Compare
          </a>
        )}
        <button type="button" class="btn icon" aria-label="Copy refs" title="Copy refs" onClick={copyRefs}>
          <Icon name="copy" />
        </button>
        <button type="button" class="btn icon" aria-label="Delete…" title="Delete…" onClick={() => (isDeleting.value = true)}>
          <Icon name="trash" />
        </button>
      </SelectionBar>
      {isDeleting.value && (
        <DeleteChosen
          noun="version"
          items={chosen.map((version) => ({ id: version.id, name: `${version.name}:v${version.number}` }))}
          {...deletion}
          close={() => (isDeleting.value = false)}
        />
      )}
    </>
  );
}
