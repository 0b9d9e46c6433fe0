// The versions of an artifact in the list at the side: only the rows in sight are in the document. Rows can be selected.
import type { ModelArtifact, ModelArtifactVersion } from "../gen/modelyard/v1/model_artifact_pb";
import { Icon } from "../parts/icon";
import { SelectBox, type Selection, useSelection } from "../parts/lists/selection";
import { bytes } from "../parts/text";
import { Windowed } from "../parts/windowed";
import { hrefs } from "../routes";
import { artifacts, requestId } from "../wire/clients";
import { useList } from "../wire/lists";
import { ChosenVersions } from "./chosen-versions";

const ROW_HEIGHT = 28;

/** `shown` is the version in view, such as `v3`. */
export function VersionsOf({ artifact, shown }: { artifact: ModelArtifact; shown: string }) {
  const { value: list, need } = useList(
    `list of versions of ${artifact.id}`,
    (pageToken, pageSize) => read(artifact.id, pageToken, pageSize),
    (event) => event.collectionId === artifact.id || event.versionId !== "",
  );
  const rows = list?.rows ?? [];
  const selection = useSelection(rows.map((version) => version.id));
  return (
    <>
      <Windowed
        as="ul"
        count={rows.length + (list?.next ? 1 : 0)}
        height={ROW_HEIGHT}
        need={need}
        row={(index) => {
          const version = rows[index];
          if (!version) return <li key="unread" class="hint">…</li>;
          return <VersionRow key={version.id} version={version} isShown={`v${version.number}` === shown} selection={selection} />;
        }}
      />
      <ChosenVersions
        chosen={rows.filter((version) => selection.has(version.id))}
        selection={selection}
        compare={({ number }) => hrefs.artifacts(artifact.entity, artifact.project, artifact.type, artifact.name, `v${number}`, "compare")}
        deletion={{
          consequence: "Their files are deleted, except what other versions share with them.",
          force: "Also those with aliases or links, which are removed",
          remove: (id, force) => artifacts.deleteModelArtifactVersion({ id, force, requestId: requestId() }),
        }}
      />
    </>
  );
}

function VersionRow({ version, isShown, selection }: { version: ModelArtifactVersion; isShown: boolean; selection: Selection }) {
  const number = `v${version.number}`;
  return (
    <li class="ticked-row">
      <SelectBox selection={selection} id={version.id} label={number} />
      <a href={hrefOf(version)} aria-current={isShown ? "page" : undefined}>
        <span class="fold mono">{number}</span>
        {version.linkedTo.length > 0 && (
          <>
            <Icon name="link" small />
            <span class="vh">linked</span>
          </>
        )}
        <span class="num">{bytes(version.sizeBytes)}</span>
      </a>
    </li>
  );
}

async function read(id: string, pageToken: string, pageSize: number) {
  const reply = await artifacts.listModelArtifactVersions({ selector: { case: "id", value: id }, pageSize, pageToken });
  return { rows: reply.versions, next: reply.nextPageToken };
}

function hrefOf(version: ModelArtifactVersion): string {
  return hrefs.artifacts(version.entity, version.project, version.type, version.name, `v${version.number}`);
}
