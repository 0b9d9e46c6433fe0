// The page: who looks at it, and the view of the present address.
import { signal, useSignal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import "./page.css";
import "./additions.css";
import "./keys.css";
import { Frame } from "./parts/frame";
import { startKeys } from "./parts/keyboard/keys";
import { useVisit } from "./parts/kept/recent";
import { Bones, Failed } from "./parts/states";
import { applyTheme } from "./parts/kept/theme";
import { ArtifactsPage } from "./pages/artifacts";
import { ComparePage } from "./pages/runs/compare";
import { LinkPage } from "./pages/link";
import { ModelPage } from "./pages/model/model";
import { RegistryPage } from "./pages/registry";
import { RunPage } from "./pages/run";
import { RunsPage } from "./pages/runs/runs";
import { SignInPage } from "./pages/signin";
import { type OpenDialog, PageKeys } from "./page-keys";
import { address, hrefs, parameter, parse, type Route, startRouting } from "./routes";
import { askCaller, caller, callerFailure } from "./wire/caller";
import { startWatching, watch, whenFollowed } from "./wire/watching";

/** How long the first view waits for the stream of events, so that nothing is read twice. */
const STREAM_MS = 60;
const isReady = signal(false);

function App() {
  const route = parse(address.value.pathname);
  const failure = callerFailure.value;
  const opened = useSignal<OpenDialog>("");
  const entity = entityOf(route);
  useEffect(() => {
    document.title = `${titleOf(route)} · modelyard`;
  });
  useVisit(route.view === "runs" ? { kind: "project", title: route.project, second: route.entity, href: hrefs.runs(route.entity, route.project) } : undefined);
  useEffect(() => {
    if (entity) watch(entity);
  }, [entity]);
  if (failure?.needsKey) return <SignInPage />;
  if (failure) return <main class="solo">{<Failed failure={failure} />}</main>;
  if (!caller.value || !isReady.value) return <main class="solo">{<Bones />}</main>;
  return (
    <>
      <Frame route={route} entity={entity} search={() => (opened.value = "jump")} showKeys={() => (opened.value = "keys")}>
        <View route={route} entity={entity} />
      </Frame>
      <PageKeys route={route} entity={entity} opened={opened} />
    </>
  );
}

function entityOf(route: Route): string {
  if ("entity" in route) return route.entity;
  return parameter("entity") || (caller.value?.entity ?? "");
}

function View({ route, entity }: { route: Route; entity: string }) {
  switch (route.view) {
    case "registry":
      return <RegistryPage type={route.type} entity={entity} />;
    case "model":
      return <ModelPage {...route} />;
    case "link":
      return <LinkPage {...route} />;
    case "artifacts":
      return <ArtifactsPage {...route} />;
    case "runs":
      return <RunsPage {...route} />;
    case "compare":
      return <ComparePage {...route} />;
    case "run":
      return <RunPage {...route} />;
    case "nothing":
      return (
        <main class="main">
          <h1>There is no such page</h1>
          <p>
            <a href={hrefs.registry()}>Show the registry</a>
          </p>
        </main>
      );
  }
}

function titleOf(route: Route): string {
  if (route.view === "registry") return "Registered models";
  if (route.view === "nothing") return "Not found";
  if (route.view === "compare") return `${route.project}: runs compared`;
  if (route.view === "runs") return `${route.project}: runs`;
  if (route.view === "artifacts" && !route.name) return `${route.project}: artifacts`;
  return "version" in route && route.version ? `${route.name}:${route.version}` : route.name;
}

async function begin(): Promise<void> {
  await askCaller();
  await whenFollowed(STREAM_MS);
  isReady.value = true;
}

applyTheme();
startRouting();
startWatching();
startKeys();
void begin();
const root = document.getElementById("app");
if (root) render(<App />, root);
