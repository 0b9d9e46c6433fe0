// Reads from the server what a reading of a text may mean, one kind of place each.
import type { ModelArtifact, ModelArtifactVersion } from "../../gen/modelyard/v1/model_artifact_pb";
import type { Project } from "../../gen/modelyard/v1/project_pb";
import type { RegisteredModel, RegisteredModelVersion } from "../../gen/modelyard/v1/registered_model_pb";
import type { Run } from "../../gen/modelyard/v1/run_pb";
import { hrefs } from "../../routes";
import { artifacts, projects, registry, runs } from "../clients";
import { quoted } from "../filters";
import type { FoundPlace } from "./places";
import type { Reading } from "./readings";

const VERSIONS_READ = 50;

/** The filter for names that are the text, or contain it: the first is indexed, and found however many contain it. */
async function byName<T>({ name, isWhole }: Reading, fields: readonly string[], read: (filter: string) => Promise<readonly T[]>): Promise<T[]> {
  if (!name) return [...(await read(""))];
  if (isWhole && /[/:]/.test(name) && !fields.includes("display_name")) return [];
  const operators = ["=", ":"].map((operator) => fields.map((field) => `${field} ${operator} ${quoted(name)}`).join(" OR "));
  return (await Promise.all(operators.map(read))).flat();
}

export async function findModels(reading: Reading, pageSize: number, signal: AbortSignal): Promise<FoundPlace[]> {
  const { entity, project, selector, name } = reading;
  if (selector !== undefined) return [];
  const found = await byName(reading, ["name"], async (filter) => {
    return (await registry.listRegisteredModels({ entity, project, filter, orderBy: "update_time desc", pageSize }, { signal })).registeredModels;
  });
  return found.map((model: RegisteredModel) => ({
    kind: "model",
    title: model.name,
    second: `${model.entity}/${model.project}`,
    href: hrefs.model(model.entity, model.project, model.name),
    at: model.updateTime,
    isExact: model.name === name,
  }));
}

export async function findArtifacts(reading: Reading, pageSize: number, signal: AbortSignal): Promise<FoundPlace[]> {
  const { entity, project, selector, name } = reading;
  if (selector !== undefined) return [];
  const found = await byName(reading, ["name"], async (filter) => {
    return (await artifacts.listModelArtifacts({ entity, project, filter, orderBy: "update_time desc", pageSize }, { signal })).modelArtifacts;
  });
  return found.map((artifact: ModelArtifact) => ({
    kind: "artifact",
    title: artifact.name,
    second: `${artifact.entity}/${artifact.project} · ${artifact.type}`,
    href: hrefs.artifacts(artifact.entity, artifact.project, artifact.type, artifact.name),
    at: artifact.updateTime,
    isExact: artifact.name === name,
  }));
}

export async function findRuns(reading: Reading, pageSize: number, signal: AbortSignal): Promise<FoundPlace[]> {
  const { entity, project, selector, name } = reading;
  if (selector !== undefined) return [];
  const readMask = { paths: ["display_name", "state", "create_time"] };
  const found = await byName(reading, ["display_name", "name"], async (filter) => {
    return (await runs.listRuns({ entity, project, filter, pageSize, readMask }, { signal })).runs;
  });
  return found.map((run: Run) => ({
    kind: "run",
    title: run.displayName || run.name,
    second: `${run.entity}/${run.project}/${run.name}`,
    href: hrefs.run(run.entity, run.project, run.name),
    at: run.createTime,
    isExact: run.name === name || run.displayName === name,
  }));
}

export async function findProjects(reading: Reading, pageSize: number, signal: AbortSignal): Promise<FoundPlace[]> {
  const { entity, project, selector, name } = reading;
  if (selector !== undefined || project) return [];
  const found = await byName(reading, ["name"], async (filter) => {
    return (await projects.listProjects({ entity, filter, orderBy: "create_time desc", pageSize }, { signal })).projects;
  });
  // A registry is a project, too: without runs and artifacts its view as a project is empty.
  const shown = found.filter((one) => one.runCount || one.artifactCount);
  return shown.map((one: Project) => ({
    kind: "project",
    title: one.name,
    second: one.entity,
    href: hrefs.runs(one.entity, one.name),
    at: one.lastActivityTime,
    isExact: one.name === name,
  }));
}

/** Versions of the name before the colon: those with exactly this number or alias, and the newest that begin so. */
async function bySelector<T extends { number: bigint; aliases: readonly string[] }>(
  { name, selector }: Reading,
  read: (filter: string) => Promise<readonly T[]>,
): Promise<T[]> {
  if (!name || selector === undefined) return [];
  const named = `name = ${quoted(name)}`;
  const number = /^v(\d+)$/.exec(selector)?.[1];
  const exact = number ? `number = ${number}` : `aliases : ${quoted(selector)}`;
  const [exactly, newest] = await Promise.all([selector ? read(`${named} AND ${exact}`) : [], read(named)]);
  const begins = newest.filter((one) => [`v${one.number}`, ...one.aliases].some((each) => each.startsWith(selector)));
  return [...exactly, ...begins];
}

function isSelected(version: { number: bigint; aliases: readonly string[] }, { selector }: Reading): boolean {
  return `v${version.number}` === selector || version.aliases.some((alias) => alias === selector);
}

export async function findLinks(reading: Reading, _pageSize: number, signal: AbortSignal): Promise<FoundPlace[]> {
  const { entity, project } = reading;
  const found = await bySelector(reading, async (filter) => {
    return (await registry.listRegisteredModelVersions({ entity, project, filter, pageSize: VERSIONS_READ }, { signal })).versions;
  });
  return found.map((version: RegisteredModelVersion) => ({
    kind: "link",
    title: `${version.name}:v${version.number}`,
    second: [`${version.entity}/${version.project}`, ...version.aliases].join(" · "),
    href: hrefs.link(version.entity, version.project, version.name, `v${version.number}`),
    at: version.createTime,
    isExact: isSelected(version, reading),
  }));
}

export async function findVersions(reading: Reading, _pageSize: number, signal: AbortSignal): Promise<FoundPlace[]> {
  const { entity, project } = reading;
  const found = await bySelector(reading, async (filter) => {
    return (await artifacts.listModelArtifactVersions({ entity, project, filter, pageSize: VERSIONS_READ }, { signal })).versions;
  });
  return found.map((version: ModelArtifactVersion) => ({
    kind: "version",
    title: `${version.name}:v${version.number}`,
    second: [`${version.entity}/${version.project}`, ...version.aliases].join(" · "),
    href: hrefs.artifacts(version.entity, version.project, version.type, version.name, `v${version.number}`),
    at: version.createTime,
    isExact: isSelected(version, reading),
  }));
}
