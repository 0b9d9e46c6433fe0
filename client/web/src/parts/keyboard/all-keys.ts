// Every key of the page with what it does, as the dialog behind `?` shows it. A view can bind only keys that are named here.
// Names are those of KeyboardEvent.key; "g r" are two keys one after the other, "mod+k" is ⌘K on a Mac, else Ctrl K.
export const KEY_GROUPS = [
  {
    title: "Everywhere",
    entries: [
      { names: ["mod+k"], does: "Jump to anything" },
      { names: ["/"], does: "Filter of the list, else search" },
      { names: ["g r"], does: "Registry" },
      { names: ["g u"], does: "Runs of the project" },
      { names: ["g a"], does: "Artifacts of the project" },
      { names: ["g l"], does: "Lineage of the version" },
      { names: ["["], does: "Fold the side bar" },
      { names: ["?"], does: "All keys" },
      { names: ["Escape"], does: "Close; clear the selection" },
    ],
  },
  {
    title: "Lists",
    entries: [
      { names: ["j", "k"], does: "Next, previous row" },
      { names: ["Enter"], does: "Open the row" },
      { names: ["x"], does: "Select the row" },
      { names: ["X"], does: "Select up to the row, as Shift click" },
    ],
  },
  {
    title: "Models, versions, runs",
    entries: [
      { names: ["c"], does: "Copy the ref" },
      { names: ["l"], does: "Link to registry" },
      { names: ["1", "2", "3", "4", "5", "6"], does: "Tab of a version or a run" },
      { names: ["h"], does: "Hide a run" },
      { names: ["s"], does: "Solo a run" },
      { names: ["ArrowLeft", "ArrowRight"], does: "Move the crosshair or the slider" },
    ],
  },
] as const;

type Group = (typeof KEY_GROUPS)[number];
export type KeyName = Group["entries"][number]["names"][number];

const CAPS: Record<string, string> = { Escape: "Esc", ArrowLeft: "←", ArrowRight: "→", X: "Shift x" };

export const isMac = /Mac|iPhone|iPad/.test(navigator.userAgent);

/** What stands on the keys of a name. */
export function capsOf(name: KeyName): string[] {
  if (name === "mod+k") return [isMac ? "⌘K" : "Ctrl K"];
  return name.split(" ").map((key) => CAPS[key] ?? key);
}
