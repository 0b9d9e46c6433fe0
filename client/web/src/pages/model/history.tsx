// Who moved which alias when, and what stood where on a date.
import { useSignal } from "@preact/signals";
import type { RegisteredModel } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias } from "../../parts/alias";
import { Lanes, type Span } from "../../parts/drawings/lanes";
import { Icon } from "../../parts/icon";
import { Time } from "../../parts/text";
import { type AliasHistory, byWeight, timeOf } from "./alias-changes";
import { OnDate } from "./on-date";

const CHOICES = 3;
const LANES = 6;
const SHOWN = 12;
const MORE = 100;

export function History({ model, history }: { model: RegisteredModel; history: AliasHistory }) {
  const alias = useSignal("");
  const shownCount = useSignal(SHOWN);
  const allLanes = useSignal(false);
  const { changes, hasMore } = history;
  const held = new Map(model.aliases.map((one) => [one.alias, one.version]));
  const names = [...new Set([...changes.map((change) => change.alias), ...held.keys()])].sort(byWeight);
  const shown = changes.filter((change) => !alias.value || change.alias === alias.value);
  const oldest = changes[changes.length - 1];
  const from = oldest ? timeOf(oldest) : Date.now();
  const now = Date.now();
  const lanes = (allLanes.value ? names : names.slice(0, LANES)).map((name) => [name, spansOf(changes, name, from, now, held.get(name))] as const);
  return (
    <section class="sec">
      <div class="sec-head">
        <h2 id="history">History</h2>
        <span class="push">
          <span class="seg" role="group" aria-label="Alias">
            {["", ...names.filter((one) => one !== "latest").slice(0, CHOICES)].map((one) => (
              <button type="button" key={one} aria-pressed={alias.value === one} onClick={() => (alias.value = one)}>
                {one || "All aliases"}
              </button>
            ))}
          </span>
        </span>
      </div>
      <div class="box">
        <Lanes lanes={lanes} from={from} to={now} />
        {names.length > LANES && (
          <p class="hint file-foot">
            <button type="button" class="btn bare" aria-expanded={allLanes.value} onClick={() => (allLanes.value = !allLanes.value)}>
              {allLanes.value ? `The first ${LANES}` : `All ${names.length} aliases`}
            </button>
          </p>
        )}
        <OnDate model={model} from={from} />
      </div>
      <ol class="hist hist-top">
        {shown.slice(0, shownCount.value).map((change) => (
          <li key={String(change.sequence)}>
            <Icon name="tag" />
            <span>
              <Alias alias={change.alias} />{" "}
              <span class="mono">
                {change.previousVersion || "none"} → {change.version || "none"}
              </span>{" "}
              <span class="mute">by {change.principal}</span>
            </span>
            <Time at={change.createTime} />
          </li>
        ))}
      </ol>
      {shown.length > shownCount.value && (
        <p class="more-rows">
          <button type="button" class="btn" onClick={() => (shownCount.value += MORE)}>
            Show {Math.min(MORE, shown.length - shownCount.value)} more changes
          </button>
        </p>
      )}
      {hasMore && <p class="hint">Older changes: `modelyard model history "{model.name}"`.</p>}
    </section>
  );
}

/** The times in which an alias stood on a version, the oldest first. An alias without a change has stood where it stands. */
export function spansOf(changes: AliasHistory["changes"], name: string, from: number, now: number, held: string | undefined): Span[] {
  const own = changes.filter((change) => change.alias === name).sort((a, b) => Number(a.sequence - b.sequence));
  const [first] = own;
  if (!first) return held ? [{ version: held, from, to: now }] : [];
  const before: Span = { version: first.previousVersion, from, to: timeOf(first) };
  const after = own.map((change, number): Span => {
    const next = own[number + 1];
    return { version: change.version, from: Math.max(from, timeOf(change)), to: next ? timeOf(next) : now };
  });
  return [before, ...after].filter((span) => span.version !== "");
}
