// The files that differ between two versions, and how much of the content is the same.
import { useSignal } from "@preact/signals";
import { type FileChange, FileChangeKind, type ManifestEntry, type VersionComparison } from "../../gen/modelyard/v1/model_artifact_pb";
import { bytes, count } from "../../parts/text";
import { Windowed } from "../../parts/windowed";
import { type Comparison, MOST_CHANGES } from "./comparison";

const WORDS: Partial<Record<FileChangeKind, string>> = {
  [FileChangeKind.ADDED]: "added",
  [FileChangeKind.REMOVED]: "removed",
  [FileChangeKind.CHANGED]: "changed",
};
const ROW = 36;

/** The answer at first glance: how many files differ, how many bytes are the same. */
export function Sums({ total, size, baseName }: { total: VersionComparison | undefined; size: bigint; baseName: string }) {
  if (!total) return null;
  const counts: [bigint, string][] = [
    [total.addedCount, "added"],
    [total.removedCount, "removed"],
    [total.changedCount, "changed"],
  ];
  const differing = counts.filter(([amount]) => amount).map(([amount, word]) => `${Number(amount).toLocaleString("en")} ${word}`);
  const shared = total.sharedBytes;
  const rest = shared === undefined ? undefined : size - shared;
  return (
    <div class="stand box compare-sums">
      <div>
        <span class="mute">Files</span>
        <div class="big">{differing.join(", ") || "the same"}</div>
        <span class="small mute">{count(total.unchangedCount, "file")} unchanged</span>
      </div>
      <div>
        <span class="mute">Shared with {baseName}</span>
        <div class="big">{shared === undefined ? "not counted" : `${bytes(shared)}`}</div>
        <span class="small mute">{shared === undefined ? "the versions have too many chunks" : `of ${bytes(size)}, compared by chunk`}</span>
      </div>
      <div>
        <span class="mute">New</span>
        <div class="big">{rest === undefined ? "—" : bytes(rest)}</div>
        <span class="small mute">to download for a client that has {baseName}</span>
      </div>
    </div>
  );
}

export function ChangedFiles({ comparison, name, baseName }: { comparison: Comparison; name: string; baseName: string }) {
  const sought = useSignal("");
  const { changes, hasMore } = comparison;
  if (!changes.length) return <p class="mute">Both versions have the same files.</p>;
  const shown = sought.value ? changes.filter((one) => one.path.includes(sought.value)) : changes;
  return (
    <>
      {changes.length > 20 && (
        <div class="tools">
          <input class="in files-filter" aria-label="Filter files" placeholder="Part of a path" value={sought.value} onInput={(event) => (sought.value = event.currentTarget.value)} />
          <span class="hint">{count(shown.length, "file")}</span>
        </div>
      )}
      <div class="box clip" tabIndex={0} role="region" aria-label="Files that differ">
        <table class="tbl changes">
          <thead>
            <tr>
              <th>Change</th>
              <th>File</th>
              <th class="num">{baseName}</th>
              <th class="num">{name}</th>
              <th class="num">New</th>
            </tr>
          </thead>
          <Windowed as="tbody" columns={5} count={shown.length} height={ROW} row={(index) => shown[index] && <Change key={shown[index].path} change={shown[index]} />} />
        </table>
      </div>
      {hasMore && <p class="hint">The first {MOST_CHANGES.toLocaleString("en")} are shown; the command `modelyard diff` lists all.</p>}
    </>
  );
}

function Change({ change }: { change: FileChange }) {
  const word = WORDS[change.kind] ?? "";
  const { entry, baseEntry, sharedBytes } = change;
  return (
    <tr>
      <td>
        <span class={`change ${word}`}>{word}</span>
      </td>
      <td class="mono fold" title={titleOf(change)}>
        {change.path}
      </td>
      <td class="num">{sizeOf(baseEntry)}</td>
      <td class="num">{sizeOf(entry)}</td>
      <td class="num">{entry?.sizeBytes === undefined || sharedBytes === undefined ? "—" : bytes(entry.sizeBytes - sharedBytes)}</td>
    </tr>
  );
}

function sizeOf(entry: ManifestEntry | undefined): string {
  return entry?.sizeBytes === undefined ? "—" : bytes(entry.sizeBytes);
}

function titleOf({ path, entry, baseEntry }: FileChange): string {
  const targets = [baseEntry, entry].map((one) => one?.referenceUri && `${one.referenceUri} ${one.referenceTag}`).filter(Boolean);
  return [path, ...targets].join("\n");
}
