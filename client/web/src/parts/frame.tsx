// What surrounds every view: the bar at the top, the navigation at the side, the banner while the server is away.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { hrefs, type Route } from "../routes";
import { caller } from "../wire/caller";
import { recentProjects } from "../wire/projects";
import { useQuery } from "../wire/queries";
import { useRegistries } from "../wire/registries";
import { connection } from "../wire/watching";
import { Icon } from "./icon";
import { capsOf } from "./keyboard/all-keys";
import { isFolded, fold } from "./kept/side";
import { Toast } from "./toast";
import { cycleTheme, theme } from "./kept/theme";

interface Props {
  route: Route;
  entity: string;
  search: () => void;
  showKeys: () => void;
  children: ComponentChildren;
}

export function Frame({ route, entity, search, showKeys, children }: Props) {
  const project = ["artifacts", "runs", "run", "compare"].includes(route.view) && "project" in route ? route.project : "";
  return (
    <div class={`frame${isFolded.value ? " rail" : ""}`}>
      <header class="bar">
        <a class="brand" href="/" aria-label="modelyard">
          <svg viewBox="0 0 22 22" aria-hidden="true">
            <rect width="22" height="22" rx="5.5" />
            <path d="M5.5 16V8.75a2.75 2.75 0 0 1 5.5 0V16m0-7.25a2.75 2.75 0 0 1 5.5 0V16" />
          </svg>
          <span>modelyard</span>
        </a>
        <nav aria-label="Breadcrumb">
          <ol class="crumbs">
            {crumbs(route, entity).map(([label, href]) => (
              <li key={label}>{href ? <a href={href}>{label}</a> : <span aria-current="page">{label}</span>}</li>
            ))}
          </ol>
        </nav>
        <button type="button" class="search with" aria-label="Search" aria-keyshortcuts="Meta+K Control+K" onClick={search}>
          <Icon name="search" />
          <span class="in">Search models, versions, runs</span>
          <kbd>{capsOf("mod+k")}</kbd>
        </button>
        <button type="button" class="btn bare icon" aria-label={`Theme: ${theme.value}`} title={`Theme: ${theme.value}`} onClick={cycleTheme}>
          <Icon name="theme" />
        </button>
        <span class="me face" title={`${caller.value?.principal ?? ""} in ${caller.value?.entity ?? ""}`} role="img" aria-label={`Account of ${caller.value?.principal ?? ""}`}>
          {(caller.value?.principal ?? "").slice(0, 2).toUpperCase()}
        </span>
      </header>
      <Side route={route} entity={entity} project={project} showKeys={showKeys} />
      <div class="view">
        <Banner />
        {children}
      </div>
      <Toast />
    </div>
  );
}

function Side({ route, entity, project, showKeys }: { route: Route; entity: string; project: string; showKeys: () => void }) {
  const registries = useRegistries(entity);
  const { value: projects } = useQuery(
    `projects ${entity}`,
    () => recentProjects(entity),
    (event) => event.entity === entity && (event.collectionId !== "" || event.runId !== ""),
  );
  const present = projects?.find((one) => one.name === project);
  const others = (projects ?? []).filter((one) => one.name !== project && (one.runCount || one.artifactCount)).slice(0, MOST_PROJECTS);
  const total = (registries ?? []).reduce((sum, one) => sum + Number(one.registeredModelCount), 0);
  const inRegistry = ["registry", "model", "link"].includes(route.view);
  return (
    <nav class="side" aria-label="Main">
      <a href={hrefs.registry()} aria-current={inRegistry ? "page" : undefined} title="Registry">
        <Icon name="registry" />
        <span>Registry</span>
        <span class="num">{total || ""}</span>
      </a>
      {project && <h2>Project {project}</h2>}
      {project && (
        <a href={hrefs.runs(entity, project)} aria-current={["runs", "run", "compare"].includes(route.view) ? "page" : undefined} title="Runs">
          <Icon name="runs" />
          <span>Runs</span>
          <span class="num">{present ? Number(present.runCount) : ""}</span>
        </a>
      )}
      {project && (
        <a href={hrefs.artifacts(entity, project)} aria-current={route.view === "artifacts" ? "page" : undefined} title="Artifacts">
          <Icon name="artifacts" />
          <span>Artifacts</span>
          <span class="num">{present ? Number(present.artifactCount) : ""}</span>
        </a>
      )}
      {others.length > 0 && <h2>{project ? "Other projects" : "Projects"}</h2>}
      {others.map((one) => (
        <a key={one.name} class="sub" href={hrefs.runs(entity, one.name)} title={one.name}>
          <span class="fold">{one.name}</span>
          <span class="num">{Number(one.runCount)}</span>
        </a>
      ))}
      <button type="button" class="end" title="Keys" onClick={showKeys}>
        <Icon name="keys" />
        <span>Keys</span>
        <kbd class="num">?</kbd>
      </button>
      <button type="button" class="last" title={isFolded.value ? "Unfold the side bar" : "Fold the side bar"} aria-expanded={!isFolded.value} onClick={fold}>
        <Icon name="fold" />
        <span>Side bar</span>
        <kbd class="num">[</kbd>
      </button>
    </nav>
  );
}

const MOST_PROJECTS = 12;

function crumbs(route: Route, entity: string): [string, string][] {
  switch (route.view) {
    case "registry":
      return [[entity, hrefs.registry()], ["Registry", ""]];
    case "model":
      return [[route.entity, hrefs.registry()], ["Registry", hrefs.registry()], [route.name, ""]];
    case "link":
      return [
        [route.entity, hrefs.registry()],
        ["Registry", hrefs.registry()],
        [route.name, hrefs.model(route.entity, route.project, route.name)],
        [route.version, ""],
      ];
    case "runs":
      return [[route.entity, hrefs.registry()], [route.project, ""]];
    case "compare":
      return [[route.entity, hrefs.registry()], [route.project, hrefs.runs(route.entity, route.project)], ["Compare", ""]];
    case "run":
      return [[route.entity, hrefs.registry()], [route.project, hrefs.runs(route.entity, route.project)], [route.name, ""]];
    case "artifacts": {
      const start: [string, string][] = [
        [route.entity, hrefs.registry()],
        [route.project, hrefs.runs(route.entity, route.project)],
      ];
      if (!route.name) return [...start, ["Artifacts", ""]];
      return [...start, ["Artifacts", hrefs.artifacts(route.entity, route.project)], [route.name + (route.version && `:${route.version}`), ""]];
    }
    default:
      return [["Not found", ""]];
  }
}

/** Says since when the server is away. The view stays. */
function Banner() {
  const { lostAt, nextTry } = connection.value;
  const now = useSignal(Date.now());
  useEffect(() => {
    if (!lostAt) return;
    const timer = setInterval(() => (now.value = Date.now()), 1000);
    return () => clearInterval(timer);
  }, [lostAt]);
  const since = lostAt?.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
  const left = nextTry ? Math.max(0, Math.ceil((nextTry.getTime() - now.value) / 1000)) : 0;
  return (
    <div role="status">
      {lostAt && (
        <p class="away">
          Not connected since {since}. What you see may be old. {left ? `Trying again in ${left} s` : "Trying again"}
        </p>
      )}
    </div>
  );
}
