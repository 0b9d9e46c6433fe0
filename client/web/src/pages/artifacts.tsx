// What did this project make, and which versions are linked?
import { useSignal } from "@preact/signals";
import type { ModelArtifact, ModelArtifactVersion } from "../gen/modelyard/v1/model_artifact_pb";
import { Icon } from "../parts/icon";
import { useVisit } from "../parts/kept/recent";
import { Bones, Empty, Failed } from "../parts/states";
import { useKeys } from "../parts/keyboard/keys";
import { hrefs, navigate, type VersionTab } from "../routes";
import { artifacts } from "../wire/clients";
import { readPages } from "../wire/paging";
import { useQuery } from "../wire/queries";
import { LinkToRegistry } from "../dialogs/link-to-registry";
import { VersionsOf } from "./versions-of";
import { VersionView } from "./version/version";

interface Props {
  entity: string;
  project: string;
  type: string;
  name: string;
  version: string;
  tab: VersionTab;
}

const MOST_ARTIFACTS = 2_000;

export function ArtifactsPage(props: Props) {
  const { entity, project, name } = props;
  const sought = useSignal("");
  const { value: found, failure } = useQuery(
    `artifacts ${entity}/${project}`,
    () => readArtifacts(entity, project),
    (event) => event.entity === entity && event.project === project && event.collectionId !== "",
  );
  const shown = (found ?? []).filter((one) => one.name.toLowerCase().includes(sought.value.toLowerCase()));
  const types = [...new Set(shown.map((one) => one.type))].sort((a, b) => Number(b === "model") - Number(a === "model") || a.localeCompare(b));
  return (
    <main class={`main work browse${name ? " has-version" : ""}`}>
      <div class="list">
        <nav aria-label="Artifacts by type">
          <div class="tools">
            <label class="with grow">
              <span class="vh">Filter artifacts</span>
              <Icon name="filter" />
              <input class="in" data-filter placeholder="Filter artifacts" value={sought.value} onInput={(event) => (sought.value = event.currentTarget.value)} />
            </label>
          </div>
          {failure && <Failed failure={failure} />}
          {!found && !failure && <Bones />}
          {found && !shown.length && <Empty title={found.length ? "Nothing matches" : "No artifact yet"} />}
          {found && found.length >= MOST_ARTIFACTS && (
            <p class="hint">The first {MOST_ARTIFACTS.toLocaleString("en")} artifacts are listed; the search above finds all of them.</p>
          )}
          {types.map((type) => (
            <Type key={type} type={type} artifacts={shown.filter((one) => one.type === type)} at={props} />
          ))}
        </nav>
      </div>
      <div>
        {name ? (
          <Chosen {...props} />
        ) : (
          <Empty title={found?.length ? "Choose an artifact" : "This project has no artifacts"}>
            {found?.length ? "Its newest version is shown here." : <code>run.log_model("model.bin", name="digits")</code>}
          </Empty>
        )}
      </div>
    </main>
  );
}

async function readArtifacts(entity: string, project: string): Promise<ModelArtifact[]> {
  const { items } = await readPages(
    MOST_ARTIFACTS,
    (pageToken) => artifacts.listModelArtifacts({ entity, project, pageSize: 1000, pageToken }),
    (reply) => reply.modelArtifacts,
  );
  return items;
}

function Type({ type, artifacts: ofType, at }: { type: string; artifacts: readonly ModelArtifact[]; at: Props }) {
  const isOpen = useSignal(type === "model" || ofType.length <= 10);
  const open = isOpen.value || at.type === type;
  return (
    <>
      <h2 class="type">
        <button type="button" class="quiet-button" aria-expanded={open} onClick={() => (isOpen.value = !isOpen.value)}>
          <Icon name={open ? "down" : "right"} small />
          {type}
          <span class="faint num push">{ofType.length}</span>
        </button>
      </h2>
      {open && (
        <ul class="tree">
          {ofType.map((artifact) => (
            <li key={artifact.id}>
              <a
                href={hrefs.artifacts(artifact.entity, artifact.project, type, artifact.name)}
                aria-current={artifact.name === at.name && !at.version ? "page" : undefined}
              >
                <Icon name={artifact.name === at.name ? "down" : "right"} small />
                <span class="fold">{artifact.name}</span>
                <span class="num">{Number(artifact.versionCount)}</span>
              </a>
              {artifact.name === at.name && <VersionsOf artifact={artifact} shown={at.version} />}
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function Chosen({ entity, project, type, name, version, tab }: Props) {
  const isLinking = useSignal(false);
  const ref = `${entity}/${project}/${name}${version ? `:${version}` : ""}`;
  const { value: found, failure } = useQuery(
    `version ${ref}`,
    () => readVersion(ref, version),
    (event) => event.entity === entity && (event.collection === name || event.versionId !== ""),
  );
  const own = found ? `v${found.number}` : undefined;
  useVisit(own ? { kind: "version", title: `${name}:${own}`, second: `${entity}/${project}`, href: hrefs.artifacts(entity, project, type, name, own) } : undefined);
  useKeys({
    l: () => (found ? void (isLinking.value = true) : false),
    "g l": () => (own && !version ? navigate(hrefs.artifacts(entity, project, type, name, own, "lineage")) : false),
  });
  if (failure) return <Failed failure={failure} />;
  if (!found) return <Bones lines={9} />;
  return (
    <>
      <VersionView
        version={found}
        tab={tab}
        href={(one) => hrefs.artifacts(entity, project, type, name, `v${found.number}`, one)}
        actions={
          <button type="button" class="btn go" onClick={() => (isLinking.value = true)}>
            <Icon name="link" />
            Link to registry
          </button>
        }
      />
      {isLinking.value && <LinkToRegistry version={found} close={() => (isLinking.value = false)} />}
    </>
  );
}

/** The version that is named; without a number the newest one. */
async function readVersion(ref: string, version: string): Promise<ModelArtifactVersion | undefined> {
  if (version) return (await artifacts.getModelArtifactVersion({ selector: { case: "ref", value: ref } })).version;
  const reply = await artifacts.listModelArtifactVersions({ selector: { case: "ref", value: ref }, pageSize: 1 });
  return reply.versions[0];
}
