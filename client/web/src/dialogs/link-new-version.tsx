// The dialog that links a version into a registered model: project, artifact, version, aliases.
import { useSignal } from "@preact/signals";
import type { RegisteredModel } from "../gen/modelyard/v1/registered_model_pb";
import { Combobox } from "../parts/fields/combobox";
import { Dialog } from "../parts/dialog/dialog";
import { count, Time } from "../parts/text";
import { artifacts } from "../wire/clients";
import { quoted } from "../wire/filters";
import { readPages } from "../wire/paging";
import { useQuery } from "../wire/queries";
import { AliasesOfLink, link } from "./linking";

export function LinkNewVersion({ model, close }: { model: RegisteredModel; close: () => void }) {
  const project = useSignal("");
  const artifactId = useSignal("");
  const versionId = useSignal("");
  const aliases = useSignal<string[]>([]);
  const { value: found } = useQuery(
    `artifacts of type ${model.entity} ${model.type}`,
    () => artifactsOfType(model.entity, model.type),
    (event) => event.entity === model.entity,
  );
  const { value: versions } = useQuery(
    `versions of ${artifactId.value}`,
    async () => {
      if (!artifactId.value) return [];
      return (await artifacts.listModelArtifactVersions({ selector: { case: "id", value: artifactId.value }, pageSize: 200 })).versions;
    },
    (event) => event.collectionId === artifactId.value,
  );
  const projects = [...new Set((found ?? []).map((one) => one.project))].sort();
  const ofProject = (found ?? []).filter((one) => one.project === project.value);
  return (
    <Dialog
      title="Link new version"
      act="Link to registry"
      close={close}
      onAct={() => link(versionId.value, { case: "targetId", value: model.id }, aliases.value)}
      canAct={versionId.value !== ""}
    >
      <p class="mute">
        to <strong class="quiet">{model.name}</strong>
      </p>
      <Combobox
        label="Project"
        isFirst
        value={project.value}
        placeholder={found && !projects.length ? `No project has a ${model.type}` : "Choose a project"}
        choose={(value) => {
          project.value = value;
          artifactId.value = versionId.value = "";
        }}
        choices={projects.map((one) => ({ value: one, text: one, content: one }))}
      />
      <Combobox
        label="Model Artifact"
        value={artifactId.value}
        placeholder="Choose an artifact"
        choose={(value) => {
          artifactId.value = value;
          versionId.value = "";
        }}
        choices={ofProject.map((one) => ({
          value: one.id,
          text: one.name,
          content: (
            <>
              {one.name}
              <span class="end">{count(one.versionCount, "version")}</span>
            </>
          ),
        }))}
      />
      <Combobox
        label="Version"
        value={versionId.value}
        placeholder="Choose a version"
        choose={(value) => (versionId.value = value)}
        choices={(versions ?? []).map((one) => ({
          value: one.id,
          text: `v${one.number} ${one.aliases.join(" ")}`,
          shown: (
            <>
              <span class="mono">v{String(one.number)}</span>
              <span class="end">
                <Time at={one.createTime} />
              </span>
            </>
          ),
          content: (
            <span class="grow">
              <span class="mono">v{String(one.number)}</span> <span class="faint">{one.aliases.join(", ")}</span>
              <span class="two">
                <Time at={one.createTime} />, by {one.createdBy}
                {one.linkedTo.length > 0 && `, linked as ${one.linkedTo.map((each) => each.ref.split("/").pop()).join(", ")}`}
              </span>
            </span>
          ),
        }))}
      />
      <AliasesOfLink model={model} values={aliases.value} change={(values) => (aliases.value = values)} />
    </Dialog>
  );
}

const MOST_ARTIFACTS = 5_000;

async function artifactsOfType(entity: string, type: string) {
  const filter = `type = ${quoted(type)}`;
  const { items } = await readPages(
    MOST_ARTIFACTS,
    (pageToken) => artifacts.listModelArtifacts({ entity, filter, pageSize: 1000, pageToken }),
    (reply) => reply.modelArtifacts,
  );
  return items;
}
