// The dialog that leads to anything: a combobox over models, artifacts, versions, runs and projects.
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import { Modal } from "../parts/dialog/modal";
import { Icon } from "../parts/icon";
import { recentPlaces } from "../parts/kept/recent";
import { Bones, Failed } from "../parts/states";
import { Time } from "../parts/text";
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
  const list = useRef<HTMLDivElement>(null);

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
  useEffect(() => list.current?.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" }), [at.value]);

  const onKey = (event: KeyboardEvent) => {
    const last = places.length - 1;
    const moves: Record<string, number> = {
      ArrowDown: at.value >= last ? 0 : at.value + 1,
      ArrowUp: at.value <= 0 ? Math.max(last, 0) : at.value - 1,
      PageDown: Math.min(at.value + 8, Math.max(last, 0)),
      PageUp: Math.max(at.value - 8, 0),
    };
    const next = moves[event.key];
    if (next !== undefined) at.value = next;
    else if (event.key === "Enter" && isFresh) go(places[at.value], event.ctrlKey || event.metaKey);
    else if (event.key === "Enter") isWaiting.current = true;
    else return;
    event.preventDefault();
  };
  let number = 0;
  return (
    <Modal class="jump" labelledBy={`${id}-title`} close={close}>
      <h2 class="vh" id={`${id}-title`}>
        Jump to anything
      </h2>
      <div class="jump-field">
        <Icon name="search" />
        <input
          data-first
          role="combobox"
          aria-label="Jump to"
          aria-expanded={places.length > 0}
          aria-controls={`${id}-list`}
          aria-autocomplete="list"
          aria-activedescendant={places[at.value] ? `${id}-${at.value}` : undefined}
          autocomplete="off"
          spellcheck={false}
          placeholder="A name, a run's id, or a ref such as name:v3"
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            at.value = 0;
            isWaiting.current = false;
          }}
          onKeyDown={onKey}
        />
        <button type="button" class="btn bare icon" aria-label="Close" onClick={close}>
          <Icon name="cross" />
        </button>
      </div>
      <div class="jump-list" role="listbox" id={`${id}-list`} aria-label="Places" ref={list}>
        {(found?.groups ?? []).map((group, groupNumber) => (
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
                  isOn={own === at.value}
                  choose={(event) => go(place, event.ctrlKey || event.metaKey)}
                  point={() => (at.value = own)}
                />
              );
            })}
          </div>
        ))}
      </div>
      <div class="jump-below">
        {!found && <Bones lines={4} />}
        {found?.failure && <Failed failure={found.failure} />}
        <p role="status" class={places.length ? "vh" : "hint"}>
          {isFresh && !found?.failure && (places.length ? `${places.length} places` : nothing(text.value.trim()))}
        </p>
      </div>
    </Modal>
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
