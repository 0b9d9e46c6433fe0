// A version, reached through a registered model or in its project: where it comes from, where it is linked, how to use it.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../../parts/alias";
import { Icon } from "../../parts/icon";
import { type Snippet, Snippets, Code } from "../../parts/code";
import { Empty } from "../../parts/states";
import { Tabs } from "../../parts/tabs";
import { bytes, Copied, count, shortDigest, Time } from "../../parts/text";
import { flattened, textOf } from "../../parts/values";
import { hrefOfRef, VERSION_TABS, type VersionTab } from "../../routes";
import { artifacts } from "../../wire/clients";
import { useQuery } from "../../wire/queries";
import { EditAliases } from "../../dialogs/edit-aliases";
import { Files } from "./files";
import { LineageView } from "../lineage";
import { VersionLineage } from "./version-lineage";

const TAB_NAMES: Record<VersionTab, string> = { version: "Version", metadata: "Metadata", files: "Files", lineage: "Lineage", usage: "Usage" };

interface Props {
  version: ModelArtifactVersion;
  link?: RegisteredModelVersion;
  tab: VersionTab;
  href: (tab: VersionTab) => string;
  actions?: ComponentChildren;
}

/** The whole of a version below the page's frame. */
export function VersionView({ version, link, tab, href, actions }: Props) {
  const holder = link ?? version;
  const title = `${holder.name}:v${holder.number}`;
  const isEditing = useSignal(false);
  return (
    <>
      <div class="head">
        <div>
          <div class="row">
            <h1>
              {holder.name}
              <span class="faint">:</span>v{String(holder.number)}
            </h1>
            <span class="tag">{version.type}</span>
            {version.tags.map((tag) => (
              <span class="tag" key={tag}>
                {tag}
              </span>
            ))}
            {sortedAliases(holder.aliases, (alias) => alias).map((alias) => (
              <Alias key={alias} alias={alias} />
            ))}
          </div>
          {version.description && <p>{version.description}</p>}
        </div>
        <div class="row push">
          {actions}
          <button type="button" class="btn" onClick={() => (isEditing.value = true)}>
            <Icon name="tag" />
            Aliases
          </button>
        </div>
      </div>
      <Tabs
        label={title}
        at={tab}
        tabs={VERSION_TABS.map((one) => ({
          key: one,
          href: href(one),
          content: (
            <>
              {TAB_NAMES[one]}
              {one === "files" && <span class="faint num">{Number(version.fileCount).toLocaleString("en")}</span>}
            </>
          ),
        }))}
      />
      <div role="tabpanel" aria-label={TAB_NAMES[tab]}>
        {tab === "version" && <Overview version={version} link={link} />}
        {tab === "metadata" && <Metadata version={version} />}
        {tab === "files" && <Files version={version} />}
        {tab === "lineage" && <LineageView versionId={version.id} />}
        {tab === "usage" && <Usage snippets={snippetsOf(version, link)} />}
      </div>
      {isEditing.value && <EditAliases holder={holder} kind={link ? "link" : "version"} close={() => (isEditing.value = false)} />}
    </>
  );
}

function Overview({ version, link }: { version: ModelArtifactVersion; link: RegisteredModelVersion | undefined }) {
  const ref = `${version.name}:v${version.number}`;
  return (
    <div class="cols">
      <div>
        <section class="sec">
          <h2>Version overview</h2>
          <dl class="kv">
            {link && (
              <>
                <dt>Source Version</dt>
                <dd>
                  <a class="mono" href={hrefOfRef(link.sourceRef, "version", version.type)}>
                    {ref}
                  </a>
                  <span class="mute">
                    in {version.entity}/{version.project}
                  </span>
                </dd>
              </>
            )}
            <dt>Linked To</dt>
            <dd>
              {version.linkedTo.length === 0 && <span class="mute">not linked</span>}
              {version.linkedTo.map((one) => (
                <span key={one.id}>
                  <a class="mono" href={hrefOfRef(one.ref, "link")}>
                    {one.ref.split("/").pop()}
                  </a>
                  {one.id === link?.id && <span class="mute"> this page</span>}
                </span>
              ))}
            </dd>
            <dt>Digest</dt>
            <dd>
              <Copied text={version.digest} shown={shortDigest(version.digest)} />
            </dd>
            <dt>Size</dt>
            <dd class="tab">
              {bytes(version.sizeBytes)} <span class="mute">in {count(version.fileCount, "file")}</span>
            </dd>
            <dt>Logged</dt>
            <dd>
              <Time at={version.createTime} />
              <span class="mute">by {version.createdBy}</span>
            </dd>
            {link && (
              <>
                <dt>Linked</dt>
                <dd>
                  <Time at={link.createTime} />
                  <span class="mute">by {link.createdBy}</span>
                </dd>
              </>
            )}
            <dt>Expires</dt>
            <dd>
              {version.expireTime ? <Time at={version.expireTime} /> : "never"}
              {version.linkedTo.length > 0 && <span class="mute">(linked versions are kept)</span>}
            </dd>
          </dl>
        </section>
        <section class="sec">
          <h2>Use it</h2>
          <Snippets snippets={snippetsOf(version, link)} />
        </section>
      </div>
      <div>
        {Object.keys(version.metadata).length > 0 && (
          <section class="sec">
            <h2>Metadata</h2>
            <dl class="kv kv-num">
              {flattened(version.metadata)
                .slice(0, 12)
                .map(([key, value]) => (
                  <MetadataRow key={key} name={key} text={textOf(value)} />
                ))}
            </dl>
          </section>
        )}
        <VersionLineage version={version} />
      </div>
    </div>
  );
}

function MetadataRow({ name, text }: { name: string; text: string }) {
  return (
    <>
      <dt class="mono">{name}</dt>
      <dd>{text}</dd>
    </>
  );
}

function Metadata({ version }: { version: ModelArtifactVersion }) {
  const other = useSignal("");
  const onlyChanged = useSignal(true);
  const { value: versions } = useQuery(
    `versions of ${version.modelArtifactId}`,
    async () => (await artifacts.listModelArtifactVersions({ selector: { case: "id", value: version.modelArtifactId }, pageSize: 200 })).versions,
    (event) => event.collectionId === version.modelArtifactId,
  );
  const compared = versions?.find((one) => one.id === other.value);
  if (!Object.keys(version.metadata).length && !compared) {
    return <Empty title="No metadata">Artifact(…, metadata={"{…}"}) and artifact.save() set it.</Empty>;
  }
  const own = new Map(flattened(version.metadata).map(([key, value]) => [key, textOf(value)]));
  const theirs = new Map(flattened(compared?.metadata ?? {}).map(([key, value]) => [key, textOf(value)]));
  const keys = [...new Set([...own.keys(), ...theirs.keys()])].sort();
  const shown = compared && onlyChanged.value ? keys.filter((key) => own.get(key) !== theirs.get(key)) : keys;
  return (
    <>
      <div class="tools">
        <label class="row">
          Compare with
          <select class="in" value={other.value} onChange={(event) => (other.value = event.currentTarget.value)}>
            <option value="">nothing</option>
            {(versions ?? [])
              .filter((one) => one.id !== version.id)
              .map((one) => (
                <option key={one.id} value={one.id}>
                  {one.name}:v{String(one.number)}
                </option>
              ))}
          </select>
        </label>
        {compared && (
          <label class="push row">
            <input type="checkbox" checked={onlyChanged.value} onChange={(event) => (onlyChanged.value = event.currentTarget.checked)} />
            Only what differs
          </label>
        )}
      </div>
      <div class="box clip" tabIndex={0} role="region" aria-label="Metadata">
        <table class="diff">
          <thead>
            <tr>
              <th>Key</th>
              <th>v{String(version.number)}</th>
              {compared && <th>v{String(compared.number)}</th>}
            </tr>
          </thead>
          <tbody>
            {shown.map((key) => {
              const differs = compared && own.get(key) !== theirs.get(key);
              return (
                <tr key={key}>
                  <th scope="row">{key}</th>
                  <td class={differs ? "new" : ""}>{own.get(key) ?? "—"}</td>
                  {compared && <td class={differs ? "old" : ""}>{theirs.get(key) ?? "—"}</td>}
                </tr>
              );
            })}
          </tbody>
        </table>
        {!shown.length && <p class="hint file-foot">Nothing differs.</p>}
      </div>
    </>
  );
}

function Usage({ snippets }: { snippets: readonly Snippet[] }) {
  return (
    <div class="stack usage">
      {snippets.map((snippet) => (
        <>
          <h2>{snippet.name}</h2>
          <Code {...snippet} />
        </>
      ))}
    </div>
  );
}

/** How to use a version, in Python and in a shell. */
function snippetsOf(version: ModelArtifactVersion, link: RegisteredModelVersion | undefined): Snippet[] {
  const holder = link ?? version;
  const ref = `${holder.entity}/${holder.project}/${holder.name}:v${holder.number}`;
  const call = version.type.includes("model") ? `path = run.use_model(${JSON.stringify(ref)})` : `path = run.use_artifact(${JSON.stringify(ref)}).download()`;
  return [
    { name: "Python", text: `import modelyard\n\nwith modelyard.init(project="serving") as run:\n    ${call}` },
    { name: "Shell", text: `modelyard use ${quotedForShell(ref)} --root models` },
  ];
}

function quotedForShell(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

