// The projects of an entity.
import type { Project } from "../gen/modelyard/v1/project_pb";
import { projects } from "./clients";

const MOST_PROJECTS = 1_000;

/** The one where something happened last comes first. */
export async function recentProjects(entity: string): Promise<Project[]> {
  const reply = await projects.listProjects({ entity, pageSize: MOST_PROJECTS });
  return reply.projects.sort((a, b) => Number((b.lastActivityTime?.seconds ?? 0n) - (a.lastActivityTime?.seconds ?? 0n)));
}
