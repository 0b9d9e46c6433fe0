// The files of a version: a tree, a preview of what can be shown safely, and a download that needs no preview.
import { useSignal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { ManifestEntry, ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import { Icon } from "../../parts/icon";
import { Bones, Empty, Failed } from "../../parts/states";
import { bytes, count } from "../../parts/text";
import { Windowed } from "../../parts/windowed";
import { parameter, setParameters } from "../../routes";
import { artifacts } from "../../wire/clients";
import { useQuery } from "../../wire/queries";
import { firstOpen, type Row, rowsOf, treeOf } from "./file-tree";
import { Preview } from "./preview";

const MOST_FILES = 50_000;
const PAGE = 10_000;
const SEARCHED_FROM = 20;
const ROW = 28;

export function Files({ version }: { version: ModelArtifactVersion }) {
  const { value: entries, failure } = useQuery(`files ${version.id}`, () => readEntries(version.id), () => false);
  if (failure) return <Failed failure={failure} />;
  if (!entries) return <Bones />;
  if (!entries.length) return <Empty title="No files" />;
  const shown = entries.find((entry) => entry.path === parameter("file")) ?? firstToShow(entries);
  return (
    <>
      <div class="box split">
        <Tree entries={entries} shown={shown?.path ?? ""} choose={(path) => setParameters({ file: path })} />
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

function Tree({ entries, shown, choose }: { entries: readonly ManifestEntry[]; shown: string; choose: (path: string) => void }) {
  const root = useMemo(() => treeOf(entries), [entries]);
  const open = useSignal<ReadonlySet<string>>(useMemo(() => firstOpen(root), [root]));
  const sought = useSignal("");
  const rows = useMemo(
    (): Row[] => (sought.value ? entries.filter((entry) => entry.path.includes(sought.value)).map((entry) => ({ depth: 0, entry })) : rowsOf(root, open.value)),
    [entries, root, open.value, sought.value],
  );
  const toggle = (path: string) => {
    const next = new Set(open.value);
    if (!next.delete(path)) next.add(path);
    open.value = next;
  };
  return (
    <div class="clip files-tree">
      {entries.length > SEARCHED_FROM && (
        <input class="in files-filter" data-filter aria-label="Filter files" placeholder="Part of a path" value={sought.value} onInput={(event) => (sought.value = event.currentTarget.value)} />
      )}
      <div class="tree">
        <Windowed
          as="ul"
          count={rows.length}
          height={ROW}
          row={(index) => rows[index] && <TreeRow key={keyOf(rows[index])} row={rows[index]} isSearched={sought.value !== ""} shown={shown} choose={choose} toggle={toggle} />}
        />
      </div>
      {!rows.length && <p class="hint none-found">No path has this part</p>}
    </div>
  );
}

function keyOf(row: Row): string {
  return "folder" in row ? `${row.folder.path}/` : row.entry.path;
}

interface RowProps {
  row: Row;
  isSearched: boolean;
  shown: string;
  choose: (path: string) => void;
  toggle: (path: string) => void;
}

function TreeRow({ row, isSearched, shown, choose, toggle }: RowProps) {
  const indent = Array.from({ length: row.depth }, (_, number) => <i class="indent" key={number} />);
  if ("folder" in row) {
    const { folder, isOpen } = row;
    return (
      <li>
        <button type="button" aria-expanded={isOpen} onClick={() => toggle(folder.path)} title={folder.path}>
          {indent}
          <Icon name={isOpen ? "down" : "right"} small />
          <Icon name="folder" />
          <span class="fold">{folder.name}</span>
          <span class="num">
            {count(folder.count, "file")}, {bytes(folder.size)}
          </span>
        </button>
      </li>
    );
  }
  const { entry } = row;
  return (
    <li>
      <button type="button" aria-current={entry.path === shown} onClick={() => choose(entry.path)} title={entry.path}>
        {indent}
        <Icon name={entry.referenceUri ? "link" : "file"} />
        <span class="fold">{isSearched ? entry.path : entry.path.split("/").pop()}</span>
        <span class="num">{entry.sizeBytes === undefined ? "" : bytes(entry.sizeBytes)}</span>
      </button>
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
