// The files of a version as a tree, and the rows of it that are open.
import type { ManifestEntry } from "../../gen/modelyard/v1/model_artifact_pb";

export interface Folder {
  path: string;
  name: string;
  folders: Map<string, Folder>;
  files: ManifestEntry[];
  size: bigint;
  count: number;
}

export type Row = { depth: number } & ({ folder: Folder; isOpen: boolean } | { entry: ManifestEntry });

/** Folders of at most so many files are open at first, as long as the open ones together have not more than ten times as many. */
const OPEN_FILES = 20;
const OPEN_ROWS = 10 * OPEN_FILES;

function emptyFolder(path: string, name: string): Folder {
  return { path, name, folders: new Map(), files: [], size: 0n, count: 0 };
}

/** The root folder of entries; sizes and counts of a folder are those of all below it. */
export function treeOf(entries: readonly ManifestEntry[]): Folder {
  const root = emptyFolder("", "");
  for (const entry of entries) {
    let folder = root;
    let end = entry.path.indexOf("/");
    for (let start = 0; end >= 0; start = end + 1, end = entry.path.indexOf("/", start)) {
      const name = entry.path.slice(start, end);
      let next = folder.folders.get(name);
      if (!next) folder.folders.set(name, (next = emptyFolder(entry.path.slice(0, end), name)));
      folder = next;
      folder.size += entry.sizeBytes ?? 0n;
      folder.count += 1;
    }
    folder.files.push(entry);
  }
  return root;
}

/** The paths of the folders that are open before anybody has clicked. */
export function firstOpen(root: Folder): Set<string> {
  const open = new Set<string>();
  let room = OPEN_ROWS;
  const visit = (folder: Folder) => {
    for (const inner of folder.folders.values()) {
      if (inner.count > OPEN_FILES || inner.count > room) continue;
      room -= inner.count;
      open.add(inner.path);
      visit(inner);
    }
  };
  visit(root);
  return open;
}

/** What the tree shows, line by line. */
export function rowsOf(root: Folder, open: ReadonlySet<string>): Row[] {
  const rows: Row[] = [];
  const visit = (folder: Folder, depth: number) => {
    for (const inner of folder.folders.values()) {
      const isOpen = open.has(inner.path);
      rows.push({ depth, folder: inner, isOpen });
      if (isOpen) visit(inner, depth + 1);
    }
    for (const entry of folder.files) rows.push({ depth, entry });
  };
  visit(root, 0);
  return rows;
}
