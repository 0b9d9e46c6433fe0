// Keys that work outside of fields. A view binds what its keys do; letters and signs can be switched off.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { keep, kept } from "../kept/kept";
import { isMac, type KeyName } from "./all-keys";

/** What keys do. An act that returns false leaves its key to the views around. */
export type Acts = { [Name in KeyName]?: (event: KeyboardEvent) => void | false };

const TOGETHER_MS = 1_000;
const FIRST_OF_TWO = "g";
const REPEATED = new Set(["j", "k"]);
const MODIFIERS = new Set(["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock"]);
const TEXTLESS = new Set(["button", "checkbox", "color", "file", "image", "radio", "range", "reset", "submit"]);

/** The bound keys, those that are asked first at the end. */
const layers: { current: Acts }[] = [];
let begunAt = -Infinity;

/** Whether keys of one character do something: for people who speak to their computer they may do harm. */
export const hasLetters = signal(kept("letters") !== "off");

export function switchLetters(isOn: boolean): void {
  hasLetters.value = isOn;
  keep("letters", isOn ? "" : "off");
}

/** Binds keys as long as the component is shown. Those of the whole page are asked after those of a view. */
export function useKeys(acts: Acts, of: "view" | "page" = "view"): void {
  const layer = useRef(acts);
  layer.current = acts;
  useEffect(() => {
    if (of === "page") layers.unshift(layer);
    else layers.push(layer);
    return () => void layers.splice(layers.indexOf(layer), 1);
  }, []);
}

export function startKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || MODIFIERS.has(event.key)) return;
    if (document.querySelector("dialog[open]")) return;
    const name = nameOf(event);
    if (isTyping(event.target)) {
      if (name === "Escape") event.target.blur();
      if (!name.startsWith("mod+")) return;
    }
    if (name.length === 1 && !hasLetters.value) return;
    if (event.repeat && !REPEATED.has(name)) return;
    if (press(name, event)) event.preventDefault();
  });
}

function press(name: string, event: KeyboardEvent): boolean {
  const isSecond = performance.now() - begunAt < TOGETHER_MS;
  begunAt = name === FIRST_OF_TWO && !isSecond ? performance.now() : -Infinity;
  return (isSecond && act(`${FIRST_OF_TWO} ${name}`, event)) || act(name, event);
}

function act(name: string, event: KeyboardEvent): boolean {
  return layers.toReversed().some((layer) => {
    const bound = layer.current[name as KeyName];
    return bound !== undefined && bound(event) !== false;
  });
}

/** The name of a key as all-keys.ts has it; "" for one with a modifier that makes it the browser's. */
function nameOf(event: KeyboardEvent): string {
  const isAltGraph = event.getModifierState("AltGraph"); // on many keyboards the way to type [
  if (!isAltGraph && (isMac ? event.metaKey : event.ctrlKey)) return `mod+${event.key.toLowerCase()}`;
  if (event.metaKey || (event.ctrlKey && !isAltGraph)) return "";
  if (event.altKey && /^[a-z0-9]$/i.test(event.key)) return "";
  if (!/^[a-z]$/i.test(event.key)) return event.key;
  return event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase(); // also with Caps Lock
}

function isTyping(target: EventTarget | null): target is HTMLElement {
  if (target instanceof HTMLInputElement) return !TEXTLESS.has(target.type);
  return target instanceof HTMLElement && (target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName));
}
