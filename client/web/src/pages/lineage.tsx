// What is it made from, who uses it? As a map, or as a list that everybody can read.
import { LineageDirection, LineageRelation, type GetLineageResponse } from "../gen/modelyard/v1/model_artifact_pb";
import { LineageMap, type MapNode, nodesOf } from "../parts/drawings/map";
import { Bones, Empty, Failed } from "../parts/states";
import { parameter, setParameters } from "../routes";
import { artifacts } from "../wire/clients";
import { useQuery } from "../wire/queries";

const DEPTH = 3;
const DEEPEST = 8;
const MOST_DRAWN = 1_500;
const DIRECTIONS: [string, string, LineageDirection][] = [
  ["up", "Up", LineageDirection.UPSTREAM],
  ["", "Both", LineageDirection.BOTH],
  ["down", "Down", LineageDirection.DOWNSTREAM],
];

export function LineageView({ versionId }: { versionId: string }) {
  const depth = Math.min(DEEPEST, Math.max(1, Number(parameter("steps")) || DEPTH));
  const direction = DIRECTIONS.find(([key]) => key === parameter("direction"))?.[2] ?? LineageDirection.BOTH;
  const isList = parameter("view") === "list";
  const { value, failure } = useQuery(
    `lineage map ${versionId} ${depth} ${direction}`,
    () => artifacts.getLineage({ selector: { case: "id", value: versionId }, depth, direction }),
    (event) => event.versionId !== "" || event.runId !== "",
  );
  return (
    <>
      <div class="tools">
        <div class="seg" role="group" aria-label="Direction">
          {DIRECTIONS.map(([key, label, one]) => (
            <button type="button" key={label} aria-pressed={one === direction} onClick={() => setParameters({ direction: key })}>
              {label}
            </button>
          ))}
        </div>
        <label class="row smooth">
          Steps
          <input type="range" min={1} max={DEEPEST} value={depth} onInput={(event) => setParameters({ steps: event.currentTarget.value })} />
          <output class="num">{depth}</output>
        </label>
        <span class="push seg no-phone" role="group" aria-label="View">
          <button type="button" aria-pressed={!isList} onClick={() => setParameters({ view: "" })}>
            Map
          </button>
          <button type="button" aria-pressed={isList} onClick={() => setParameters({ view: "list" })}>
            List
          </button>
        </span>
      </div>
      {failure && <Failed failure={failure} />}
      {!value && !failure && <Bones />}
      {value && !value.edges.length && <Empty title="No run is known">It was logged without a run, and no run has used it.</Empty>}
      {value && value.edges.length > 0 && <Drawn graph={value} centre={versionId} isList={isList} />}
      {value?.truncated && <p class="hint">The graph is larger: fewer steps show a part of it whole.</p>}
    </>
  );
}

function Drawn({ graph, centre, isList }: { graph: GetLineageResponse; centre: string; isList: boolean }) {
  const isTooLarge = graph.runs.length + graph.versions.length > MOST_DRAWN;
  if (isList || isTooLarge) return <List graph={graph} centre={centre} />;
  return (
    <>
      <div class="no-phone">
        <LineageMap graph={graph} centre={centre} />
      </div>
      <div class="only-phone">
        <List graph={graph} centre={centre} />
      </div>
    </>
  );
}

/** Both directions as nested lists, each thing where it is met first. */
function List({ graph, centre }: { graph: GetLineageResponse; centre: string }) {
  const nodes = new Map(nodesOf(graph).map((node) => [node.id, node]));
  const up = new Map<string, string[]>();
  const down = new Map<string, string[]>();
  for (const edge of graph.edges) {
    const [from, to] = edge.relation === LineageRelation.OUTPUT ? [edge.runId, edge.versionId] : [edge.versionId, edge.runId];
    up.set(to, [...(up.get(to) ?? []), from]);
    down.set(from, [...(down.get(from) ?? []), to]);
  }
  return (
    <div class="box lin-list">
      <h2>Made from</h2>
      <Branch at={centre} next={up} nodes={nodes} seen={new Set([centre])} none="Nothing is known" />
      <h2>Used for</h2>
      <Branch at={centre} next={down} nodes={nodes} seen={new Set([centre])} none="Nothing yet" />
    </div>
  );
}

interface BranchProps {
  at: string;
  next: ReadonlyMap<string, readonly string[]>;
  nodes: ReadonlyMap<string, MapNode>;
  seen: Set<string>;
  none?: string;
}

function Branch({ at, next, nodes, seen, none }: BranchProps) {
  const fresh = (next.get(at) ?? []).filter((id) => !seen.has(id));
  fresh.forEach((id) => seen.add(id));
  if (!fresh.length) return none ? <p class="hint none-found">{none}</p> : null;
  return (
    <ul class={none ? "tree" : ""}>
      {fresh.map((id) => {
        const node = nodes.get(id);
        return (
          node && (
            <li key={id}>
              <a href={node.href}>
                <span class="fold">{node.title}</span>
                <span class="num">{node.second}</span>
              </a>
              <Branch at={id} next={next} nodes={nodes} seen={seen} />
            </li>
          )
        );
      })}
    </ul>
  );
}
