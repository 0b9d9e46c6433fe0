// Values of two versions beside each other, key by key.
import type { AnyValue } from "../../gen/modelyard/v1/value_pb";
import { numberOf, numberText, textOf } from "../../parts/values";

type Values = readonly (readonly [string, AnyValue])[];

interface Props {
  label: string;
  values: Values;
  base: Values;
  name: string;
  baseName: string;
  onlyChanged: boolean;
}

export function Differences({ label, values, base, name, baseName, onlyChanged }: Props) {
  const [own, theirs] = [new Map(values), new Map(base)];
  const keys = [...new Set([...own.keys(), ...theirs.keys()])].sort();
  const shown = onlyChanged ? keys.filter((key) => isOther(own.get(key), theirs.get(key))) : keys;
  if (!shown.length) return <p class="mute">{keys.length ? "Nothing differs." : "Neither version has any."}</p>;
  return (
    <div class="box clip" tabIndex={0} role="region" aria-label={label}>
      <table class="diff even">
        <thead>
          <tr>
            <th>Key</th>
            <th>{baseName}</th>
            <th>{name}</th>
            <th class="d">Change</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((key) => {
            const [after, before] = [own.get(key), theirs.get(key)];
            const differs = isOther(after, before);
            return (
              <tr key={key}>
                <th scope="row">{key}</th>
                <td class={differs ? "old" : ""}>{textOf(before)}</td>
                <td class={differs ? "new" : ""}>{textOf(after)}</td>
                <td class="d">{changeOf(after, before)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** Whether two values differ; a missing one differs from every other, also from one that is shown alike. */
function isOther(one: AnyValue | undefined, other: AnyValue | undefined): boolean {
  if (!one || !other) return one !== other;
  return one.kind.case !== other.kind.case || textOf(one) !== textOf(other);
}

function changeOf(after: AnyValue | undefined, before: AnyValue | undefined): string {
  const [to, from] = [numberOf(after), numberOf(before)];
  if (to === undefined || from === undefined || to === from || !Number.isFinite(to - from)) return "";
  return `${to > from ? "+" : ""}${numberText(to - from)}`;
}
