// Addresses of the views, both ways. Every state of a view is in its address.
import { signal } from "@preact/signals";

export type VersionTab = "version" | "metadata" | "files" | "compare" | "lineage" | "usage";
export const VERSION_TABS: readonly VersionTab[] = ["version", "metadata", "files", "compare", "lineage", "usage"];

export type RunTab = "charts" | "overview" | "media" | "system" | "console";
export const RUN_TABS: readonly RunTab[] = ["charts", "overview", "media", "system", "console"];

export type Route =
  | { view: "registry"; type: string }
  | { view: "model"; entity: string; project: string; name: string }
  | { view: "link"; entity: string; project: string; name: string; version: string; tab: VersionTab }
  | { view: "artifacts"; entity: string; project: string; type: string; name: string; version: string; tab: VersionTab }
  | { view: "runs"; entity: string; project: string }
  | { view: "compare"; entity: string; project: string }
  | { view: "run"; entity: string; project: string; name: string; tab: RunTab }
  | { view: "nothing"; path: string };

/** The present address. */
export const address = signal(new URL(location.href));

export function parse(path: string): Route {
  const parts = path.split("/").filter(Boolean).map(decode);
  const [first = "", second = "", third, fourth = "", fifth = "", sixth = "", seventh = ""] = parts;
  if (!parts.length) return { view: "registry", type: "model" };
  if (first === "registry" && parts.length <= 2) return { view: "registry", type: second };
  if (third === "models" && fourth) {
    if (!fifth) return { view: "model", entity: first, project: second, name: fourth };
    return { view: "link", entity: first, project: second, name: fourth, version: fifth, tab: tabOf(sixth) };
  }
  if (third === "artifacts") {
    return { view: "artifacts", entity: first, project: second, type: fourth, name: fifth, version: sixth, tab: tabOf(seventh) };
  }
  if (parts.length === 2) return { view: "runs", entity: first, project: second };
  if (third === "compare") return { view: "compare", entity: first, project: second };
  if (third === "runs") {
    if (!fourth) return { view: "runs", entity: first, project: second };
    return { view: "run", entity: first, project: second, name: fourth, tab: RUN_TABS.find((tab) => tab === fifth) ?? "charts" };
  }
  return { view: "nothing", path };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function tabOf(text: string): VersionTab {
  return VERSION_TABS.find((tab) => tab === text) ?? "version";
}

function path(...parts: string[]): string {
  return "/" + parts.filter((part) => part !== "").map(encodeURIComponent).join("/");
}

export const hrefs = {
  registry: (type = "model") => path("registry", type),
  model: (entity: string, project: string, name: string) => path(entity, project, "models", name),
  link: (entity: string, project: string, name: string, version: string, tab: VersionTab = "version") =>
    path(entity, project, "models", name, version, tab === "version" ? "" : tab),
  runs: (entity: string, project: string) => path(entity, project),
  compare: (entity: string, project: string, names: readonly string[]) => `${path(entity, project, "compare")}?runs=${names.map(encodeURIComponent).join()}`,
  run: (entity: string, project: string, name: string, tab: RunTab = "charts") => path(entity, project, "runs", name, tab === "charts" ? "" : tab),
  artifacts: (entity: string, project: string, type = "", name = "", version = "", tab: VersionTab = "version") =>
    path(entity, project, "artifacts", type, name, version, tab === "version" ? "" : tab),
};

/** The address of a full reference `entity/project/name:vN`, of a link or of a version. */
export function hrefOfRef(ref: string, kind: "link" | "version", type = "model"): string {
  const [entity = "", project = "", rest = ""] = split(ref);
  const colon = rest.lastIndexOf(":");
  const [name, version] = [rest.slice(0, colon), rest.slice(colon + 1)];
  return kind === "link" ? hrefs.link(entity, project, name, version) : hrefs.artifacts(entity, project, type, name, version);
}

/** The address of a run by its full reference `entity/project/name`. */
export function hrefOfRun(ref: string): string {
  return hrefs.run(...split(ref));
}

/** The full reference of what a view shows; "" for lists that have none. */
export function refOf(route: Route): string {
  switch (route.view) {
    case "runs":
    case "compare":
      return `${route.entity}/${route.project}`;
    case "model":
    case "run":
      return `${route.entity}/${route.project}/${route.name}`;
    case "link":
    case "artifacts":
      return [route.entity, route.project, route.name && route.name + (route.version && `:${route.version}`)].filter(Boolean).join("/");
    default:
      return "";
  }
}

/** The lineage of the version that a view shows; undefined where it shows none. */
export function lineageOf(route: Route): string | undefined {
  if (route.view === "link") return hrefs.link(route.entity, route.project, route.name, route.version, "lineage");
  if (route.view !== "artifacts" || !route.version) return undefined;
  return hrefs.artifacts(route.entity, route.project, route.type, route.name, route.version, "lineage");
}

function split(ref: string): [string, string, string] {
  const first = ref.indexOf("/");
  const second = ref.indexOf("/", first + 1);
  return [ref.slice(0, first), ref.slice(first + 1, second), ref.slice(second + 1)];
}

export function navigate(href: string, how: { replace?: boolean; keepScroll?: boolean } = {}): void {
  history[how.replace ? "replaceState" : "pushState"](null, "", href);
  address.value = new URL(location.href);
  if (!how.keepScroll) scrollTo(0, 0);
}

/** A parameter of the address; "" where it is missing. */
export function parameter(name: string): string {
  return address.value.searchParams.get(name) ?? "";
}

/** Changes parameters of the address; an empty value removes one. */
export function setParameters(values: Record<string, string>): void {
  const url = new URL(address.value);
  for (const [name, value] of Object.entries(values)) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  navigate(url.pathname + url.search, { replace: true, keepScroll: true });
}

/** Follows links within the page without loading it again, and the browser's buttons. */
export function startRouting(): void {
  addEventListener("popstate", () => (address.value = new URL(location.href)));
  addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    if (!(link instanceof HTMLAnchorElement) || !plain || event.defaultPrevented) return;
    if (link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
    if (link.pathname.startsWith("/files/")) return;
    event.preventDefault();
    navigate(link.pathname + link.search + link.hash);
  });
}
