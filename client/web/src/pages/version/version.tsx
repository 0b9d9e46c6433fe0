// A version, reached through a registered model or in its project: its head and its tabs.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import { Alias, sortedAliases } from "../../parts/alias";
import { Icon } from "../../parts/icon";
import { Tabs } from "../../parts/tabs";
import { VERSION_TABS, type VersionTab } from "../../routes";
import { EditAliases } from "../../dialogs/edit-aliases";
import { LineageView } from "../lineage";
import { Compare } from "./compare";
import { Files } from "./files";
import { Metadata } from "./metadata";
import { Overview } from "./overview";
import { snippetsOf, Usage } from "./usage";

const TAB_NAMES: Record<VersionTab, string> = {
  version: "Version",
  metadata: "Metadata",
  files: "Files",
  compare: "Compare",
  lineage: "Lineage",
  usage: "Usage",
};

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
  const editAliases = () => (isEditing.value = true);
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
          <button type="button" class="btn" onClick={editAliases}>
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
        {tab === "version" && <Overview version={version} link={link} editAliases={editAliases} />}
        {tab === "metadata" && <Metadata version={version} />}
        {tab === "files" && <Files version={version} />}
        {tab === "compare" && <Compare version={version} link={link} />}
        {tab === "lineage" && <LineageView versionId={version.id} />}
        {tab === "usage" && <Usage snippets={snippetsOf(version, link)} />}
      </div>
      {isEditing.value && <EditAliases holder={holder} kind={link ? "link" : "version"} close={() => (isEditing.value = false)} />}
    </>
  );
}
