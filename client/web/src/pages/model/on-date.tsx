// What held each alias at a time, by the server's history. The time is in the address.
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { useSignal } from "@preact/signals";
import type { RegisteredModel } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias } from "../../parts/alias";
import { Failed } from "../../parts/states";
import { hrefs, parameter, setParameters } from "../../routes";
import { aliases } from "../../wire/clients";
import { useQuery } from "../../wire/queries";
import { isAbout } from "../registry";
import { byWeight } from "./alias-changes";

const STEPS = 200;
const MOST = 1_000;
const dates = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });

/** `from` is the time of the oldest change, in milliseconds since 1970: where the slider begins. */
export function OnDate({ model, from }: { model: RegisteredModel; from: number }) {
  const end = useSignal(Date.now());
  const given = Date.parse(parameter("on"));
  /** Where the slider is while it is dragged. */
  const moved = useSignal<{ at: number | undefined } | undefined>(undefined);
  const kept = Number.isNaN(given) ? undefined : given;
  const time = moved.value ? moved.value.at : kept;
  // Dates have milliseconds and changes microseconds: one more, so that the first change has happened.
  const begin = from + 1;
  const { value, failure } = useQuery(
    `aliases at ${model.id} ${time ?? "now"}`,
    async () =>
      (await aliases.listAliasChanges({ selector: { case: "id", value: model.id }, pageSize: MOST, atTime: timestampFromDate(new Date(time ?? Date.now())) })).changes,
    (event) => time === undefined && isAbout(event, model.entity, model.project, model.name),
  );
  const keep = (at: number | undefined) => {
    moved.value = undefined;
    setParameters({ on: at === undefined ? "" : new Date(at).toISOString() });
  };
  const timeAt = (step: number) => (step >= STEPS ? undefined : begin + ((end.value - begin) * step) / STEPS);
  const step = time === undefined ? STEPS : Math.min(STEPS - 1, Math.max(0, Math.round(((time - begin) / Math.max(1, end.value - begin)) * STEPS)));
  const text = time === undefined ? "now" : dates.format(new Date(time));
  const standing = (value ?? []).filter((one) => one.version).sort((a, b) => byWeight(a.alias, b.alias));
  return (
    <div class="answer">
      <label for="at">{time === undefined ? "Now" : `On ${text}`}</label>
      <input
        id="at"
        type="range"
        min={0}
        max={STEPS}
        value={step}
        aria-valuetext={text}
        onInput={(event) => (moved.value = { at: timeAt(Number(event.currentTarget.value)) })}
        onChange={(event) => keep(timeAt(Number(event.currentTarget.value)))}
      />
      <input
        class="in date-in"
        type="datetime-local"
        step={1}
        aria-label="Date and time"
        value={localText(time ?? end.value)}
        onChange={(event) => keep(Date.parse(event.currentTarget.value) || undefined)}
      />
      <span class="row" role="status">
        {failure && <Failed failure={failure} />}
        {standing.map((one) => (
          <Alias key={one.alias} alias={one.alias} version={one.version} href={hrefs.link(model.entity, model.project, model.name, one.version)} />
        ))}
        {value && !standing.length && <span class="faint small">no alias</span>}
      </span>
    </div>
  );
}

/** A time as a field for local dates has it. */
function localText(time: number): string {
  const date = new Date(time);
  return new Date(time - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
