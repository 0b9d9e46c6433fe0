// The files of a version: a tree, a preview of what can be shown safely, and a download that needs no preview.
import { useSignal } from "@preact/signals";
import type { ManifestEntry, ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import { Icon } from "../../parts/icon";
import { Bones, Empty, Failed } from "../../parts/states";
import { bytes, count } from "../../parts/text";
import { artifacts } from "../../wire/clients";
import { useQuery } from "../../wire/queries";
import { Preview } from "./preview";

const MOST_FILES = 20_000;
const PAGE = 10_000;

interface Folder {
  folders: Map<string, Folder>;
  files: ManifestEntry[];
  size: bigint;
  count: number;
}

export function Files({ version }: { version: ModelArtifactVersion }) {
  const chosen = useSignal("");
  const { value: entries, failure } = useQuery(`files ${version.id}`, () => readEntries(version.id), () => false);
  if (failure) return <Failed failure={failure} />;
  if (!entries) return <Bones />;
  if (!entries.length) return <Empty title="No files" />;
  const shown = entries.find((entry) => entry.path === chosen.value) ?? firstToShow(entries);
  return (
    <>
      <div class="box split">
        <div class="clip files-tree">
          <Tree folder={treeOf(entries)} shown={shown?.path ?? ""} choose={(path) => (chosen.value = path)} isOpen />
        </div>
        <div>{shown && <File version={version} entry={shown} key={shown.path} />}</div>
      </div>
      {entries.length >= MOST_FILES && <p class="hint">The first {MOST_FILES.toLocaleString("en")} files are shown; the command `modelyard show` lists all.</p>}
    </>
  );
}

async function readEntries(id: string): Promise<ManifestEntry[]> {
  const found: ManifestEntry[] = [];
  let pageToken = "";
  do {
    const reply = await artifacts.listModelArtifactFiles({ selector: { case: "id", value: id }, pageSize: PAGE, pageToken });
    found.push(...reply.entries);
    pageToken = reply.nextPageToken;
  } while (pageToken && found.length < MOST_FILES);
  return found;
}

function firstToShow(entries: readonly ManifestEntry[]): ManifestEntry | undefined {
  return entries.find((entry) => /readme|config\.json$/i.test(entry.path)) ?? entries[0];
}

export function treeOf(entries: readonly ManifestEntry[]): Folder {
  const made = (): Folder => ({ folders: new Map(), files: [], size: 0n, count: 0 });
  const root = made();
  for (const entry of entries) {
    let folder = root;
    for (const part of entry.path.split("/").slice(0, -1)) {
      let next = folder.folders.get(part);
      if (!next) folder.folders.set(part, (next = made()));
      folder = next;
      folder.size += entry.sizeBytes ?? 0n;
      folder.count += 1;
    }
    folder.files.push(entry);
  }
  return root;
}

function Tree({ folder, shown, choose, isOpen }: { folder: Folder; shown: string; choose: (path: string) => void; isOpen?: boolean }) {
  return (
    <ul class={isOpen ? "tree" : ""}>
      {[...folder.folders].map(([name, inner]) => (
        <FolderEntry key={name} name={name} folder={inner} shown={shown} choose={choose} />
      ))}
      {folder.files.map((entry) => (
        <li key={entry.path}>
          <button type="button" aria-current={entry.path === shown} onClick={() => choose(entry.path)} title={entry.path}>
            <Icon name={entry.referenceUri ? "link" : "file"} />
            <span class="fold">{entry.path.split("/").pop()}</span>
            <span class="num">{entry.sizeBytes === undefined ? "" : bytes(entry.sizeBytes)}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function FolderEntry({ name, folder, shown, choose }: { name: string; folder: Folder; shown: string; choose: (path: string) => void }) {
  const isOpen = useSignal(folder.count <= 20);
  return (
    <li>
      <button type="button" aria-expanded={isOpen.value} onClick={() => (isOpen.value = !isOpen.value)}>
        <Icon name={isOpen.value ? "down" : "right"} small />
        <Icon name="folder" />
        <span class="fold">{name}</span>
        <span class="num">
          {count(folder.count, "file")}, {bytes(folder.size)}
        </span>
      </button>
      {isOpen.value && <Tree folder={folder} shown={shown} choose={choose} />}
    </li>
  );
}

function File({ version, entry }: { version: ModelArtifactVersion; entry: ManifestEntry }) {
  const href = `/files/version/${version.id}/${entry.path.split("/").map(encodeURIComponent).join("/")}`;
  return (
    <>
      <div class="sec-head file-head">
        <span class="mono fold" title={entry.path}>
          {entry.path}
        </span>
        <span class="push">
          <span class="mute num">{entry.sizeBytes === undefined ? "" : bytes(entry.sizeBytes)}</span>
          {!entry.referenceUri && (
            <a class="btn" href={`${href}?download=1`} download>
              <Icon name="download" />
              Download
            </a>
          )}
        </span>
      </div>
      {entry.referenceUri ? (
        <p class="hint file-foot">
          It is kept elsewhere: <span class="mono">{entry.referenceUri}</span>
        </p>
      ) : (
        <Preview versionId={version.id} entry={entry} href={href} />
      )}
    </>
  );
}
