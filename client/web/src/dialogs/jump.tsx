// The dialog that leads to anything: a combobox over models, artifacts, versions, runs and projects.
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { Modal } from "../parts/dialog/modal";
import { Icon } from "../parts/icon";
import { recentPlaces } from "../parts/kept/recent";
import { Bones, Failed } from "../parts/states";
import { count, Time } from "../parts/text";
import { navigate } from "../routes";
import { type Failure, failureOf } from "../wire/failure";
import { find, type FoundGroup } from "../wire/finding/find";
import type { FoundPlace, PlaceKind } from "../wire/finding/places";

const WAIT_MS = 120;
const ICONS: Record<PlaceKind, string> = {
  project: "folder",
  model: "registry",
  link: "registry",
  artifact: "artifacts",
  version: "artifacts",
  run: "runs",
};

interface Found {
  text: string;
  groups: readonly FoundGroup[];
  failure: Failure | undefined;
}

export function Jump({ entity, close }: { entity: string; close: () => void }) {
  const id = useId();
  const text = useSignal("");
  const at = useSignal(0);
  const found = useFound(entity, text.value.trim());
  const places = found?.groups.flatMap((group) => group.places) ?? [];
  const isFresh = found?.text === text.value.trim();
  const isWaiting = useRef(false);

  const go = (place: FoundPlace | undefined, inNewTab = false) => {
    if (!place) return;
    if (inNewTab) open(place.href, "_blank", "noopener");
    else navigate(place.href);
    close();
  };
  // Enter right after a ref: it leads there once the server knows the ref.
  useEffect(() => {
    if (!isFresh || !isWaiting.current) return;
    isWaiting.current = false;
    go(places[at.value]);
  }, [found]);
  const onKey = (event: KeyboardEvent) => {
    const next = moved(at.value, places.length - 1, event.key);
    if (next !== undefined) at.value = next;
    else if (event.key !== "Enter") return;
    else if (isFresh) go(places[at.value], event.ctrlKey || event.metaKey);
    else isWaiting.current = true;
    event.preventDefault();
  };
  const change = (typed: string) => {
    text.value = typed;
    at.value = 0;
    isWaiting.current = false;
  };
  return (
    <Modal class="jump" labelledBy={`${id}-title`} close={close}>
      <h2 class="vh" id={`${id}-title`}>
        Jump to anything
      </h2>
      <Field id={id} text={text.value} change={change} onKey={onKey} close={close} count={places.length} at={at.value} />
      <Places id={id} groups={found?.groups ?? []} at={at.value} choose={go} point={(number) => (at.value = number)} />
      <div class="jump-below">
        {!found && <Bones lines={4} />}
        {found?.failure && <Failed failure={found.failure} />}
        <p role="status" class={places.length ? "vh" : "hint"}>
          {isFresh && !found?.failure && (places.length ? count(places.length, "place") : nothing(text.value.trim()))}
        </p>
      </div>
    </Modal>
  );
}

const PAGE = 8;

/** Where a key leads in the list; undefined for keys without a meaning there. */
function moved(at: number, last: number, key: string): number | undefined {
  if (last < 0) return undefined;
  const moves: Record<string, number> = {
    ArrowDown: at >= last ? 0 : at + 1,
    ArrowUp: at <= 0 ? last : at - 1,
    PageDown: Math.min(at + PAGE, last),
    PageUp: Math.max(at - PAGE, 0),
  };
  return moves[key];
}

interface FieldProps {
  id: string;
  text: string;
  change: (text: string) => void;
  onKey: (event: KeyboardEvent) => void;
  close: () => void;
  /** How many places there are, and which one is chosen. */
  count: number;
  at: number;
}

function Field({ id, text, change, onKey, close, count: found, at }: FieldProps) {
  return (
    <div class="jump-field">
      <Icon name="search" />
      <input
        data-first
        role="combobox"
        aria-label="Jump to"
        aria-expanded={found > 0}
        aria-controls={`${id}-list`}
        aria-autocomplete="list"
        aria-activedescendant={at < found ? `${id}-${at}` : undefined}
        autocomplete="off"
        spellcheck={false}
        placeholder="A name, a run's id, or a ref such as name:v3"
        value={text}
        onInput={(event) => change(event.currentTarget.value)}
        onKeyDown={onKey}
      />
      <button type="button" class="btn bare icon" aria-label="Close" onClick={close}>
        <Icon name="cross" />
      </button>
    </div>
  );
}

interface PlacesProps {
  id: string;
  groups: readonly FoundGroup[];
  at: number;
  choose: (place: FoundPlace, inNewTab: boolean) => void;
  point: (number: number) => void;
}

function Places({ id, groups, at, choose, point }: PlacesProps) {
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [at]);
  let number = 0;
  return (
    <div class="jump-list" role="listbox" id={`${id}-list`} aria-label="Places" ref={list}>
      {groups.map((group, groupNumber) => (
        <div role="group" aria-labelledby={`${id}-group-${groupNumber}`} key={group.title}>
          <div class="jump-group" role="presentation" id={`${id}-group-${groupNumber}`}>
            {group.title}
          </div>
          {group.places.map((place) => {
            const own = number++;
            return (
              <Option
                key={place.href}
                id={`${id}-${own}`}
                place={place}
                isOn={own === at}
                choose={(event) => choose(place, event.ctrlKey || event.metaKey)}
                point={() => point(own)}
              />
            );
          })}
        </div>
      ))}
    </div>
  );
}

function nothing(text: string): string {
  return text ? `Nothing is found for ${text}. A whole ref leads straight there: name:v3, project/name:alias, a run's id.` : "Nothing is here yet.";
}

interface OptionProps {
  id: string;
  place: FoundPlace;
  isOn: boolean;
  choose: (event: MouseEvent) => void;
  point: () => void;
}

function Option({ id, place, isOn, choose, point }: OptionProps) {
  return (
    <div class="jump-option" role="option" id={id} aria-selected={isOn} onClick={choose} onPointerMove={point}>
      <Icon name={ICONS[place.kind]} />
      <span class="jump-text">
        <span class="fold">{place.title}</span>
        <span class="two mono">{place.second}</span>
      </span>
      {place.at && (
        <span class="small mute nowrap-text">
          <Time at={place.at} />
        </span>
      )}
    </div>
  );
}

/** What a text finds, a moment after it was typed. What was found before stays until then. */
function useFound(entity: string, text: string): Found | undefined {
  const found = useSignal<Found | undefined>(undefined);
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      try {
        const groups = await find(entity, text, stop.signal);
        found.value = { text, groups: text ? groups : [...recent(), ...newest(groups)], failure: undefined };
      } catch (error) {
        if (!stop.signal.aborted) found.value = { text, groups: text ? [] : recent(), failure: failureOf(error) };
      }
    };
    const timer = setTimeout(() => void read(), text ? WAIT_MS : 0);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [entity, text]);
  return found.value;
}

function recent(): FoundGroup[] {
  const places = recentPlaces().map((place) => ({ ...place, isExact: false }));
  return places.length ? [{ title: "Visited last", places }] : [];
}

const NEWEST = 8;

/** What changed last, of every kind. */
function newest(groups: readonly FoundGroup[]): FoundGroup[] {
  const known = new Set(recentPlaces().map((place) => place.href));
  const places = groups
    .flatMap((group) => group.places)
    .filter((place) => !known.has(place.href))
    .sort((a, b) => timeOf(b) - timeOf(a))
    .slice(0, NEWEST);
  return places.length ? [{ title: "Newest", places }] : [];
}

function timeOf(place: FoundPlace): number {
  return place.at ? timestampDate(place.at).getTime() : 0;
}
