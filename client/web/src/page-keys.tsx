// The keys that work in every view, and the two dialogs that they open.
import type { Signal } from "@preact/signals";
import { Jump } from "./dialogs/jump";
import { KeysDialog } from "./dialogs/keys";
import { useKeys } from "./parts/keyboard/keys";
import { focusedRow, step, tickRow } from "./parts/keyboard/rows";
import { recentPlaces } from "./parts/kept/recent";
import { fold } from "./parts/kept/side";
import { copy } from "./parts/text";
import { toast } from "./parts/toast";
import { hrefs, lineageOf, navigate, parse, refOf, type Route } from "./routes";
import { recentProjects } from "./wire/projects";

export type OpenDialog = "" | "jump" | "keys";

interface Props {
  route: Route;
  entity: string;
  opened: Signal<OpenDialog>;
}

export function PageKeys({ route, entity, opened }: Props) {
  useKeys(
    {
      "mod+k": () => void (opened.value = "jump"),
      "/": () => {
        const filter = document.querySelector<HTMLElement>("[data-filter]");
        if (filter) filter.focus();
        else opened.value = "jump";
      },
      "?": () => void (opened.value = "keys"),
      "[": fold,
      "g r": () => navigate(hrefs.registry()),
      "g u": () => void toProject(route, entity, hrefs.runs),
      "g a": () => void toProject(route, entity, hrefs.artifacts),
      "g l": () => toLineage(route),
      j: () => step(1),
      k: () => step(-1),
      x: () => tickRow(false),
      X: () => tickRow(true),
      c: () => copyRef(route),
    },
    "page",
  );
  const close = () => void (opened.value = "");
  if (opened.value === "jump") return <Jump entity={entity} close={close} />;
  return opened.value === "keys" ? <KeysDialog close={close} /> : null;
}

/** What the row with the focus leads to, else the view itself. */
function present(route: Route): Route {
  const row = focusedRow();
  return row ? parse(row.pathname) : route;
}

function copyRef(route: Route): void | false {
  const ref = refOf(present(route)) || refOf(route);
  if (!ref) return false;
  void copy(ref);
}

function toLineage(route: Route): void {
  const href = lineageOf(present(route)) ?? lineageOf(route);
  if (href) navigate(href);
  else toast("Lineage belongs to a version: open one first");
}

/** Goes to the project in view, else to the one that was visited last, else to the one where something happened last. */
async function toProject(route: Route, entity: string, href: (entity: string, project: string) => string): Promise<void> {
  const shown = projectOf(route);
  const visited = recentPlaces()
    .map((place) => projectOf(parse(new URL(place.href, location.origin).pathname)))
    .find((one) => one?.entity === entity);
  const project = shown ?? visited;
  if (project) return navigate(href(project.entity, project.name));
  const [latest] = await recentProjects(entity).catch(() => []);
  if (latest) navigate(href(entity, latest.name));
  else toast("No project yet: the first run makes one");
}

/** The project of a view; views of a registry have none. */
function projectOf(route: Route): { entity: string; name: string } | undefined {
  const isOfProject = ["runs", "compare", "run", "artifacts"].includes(route.view) && "project" in route;
  return isOfProject ? { entity: route.entity, name: route.project } : undefined;
}
