// What is it made from, who uses it? As a map, or as a list that everybody can read.
import { useMemo } from "preact/hooks";
import { LineageDirection, type GetLineageResponse } from "../gen/modelyard/v1/model_artifact_pb";
import { type Graph, graphOf, linesOf, type Side } from "../parts/drawings/graph";
import { LineageMap } from "../parts/drawings/map";
import { Bones, Empty, Failed } from "../parts/states";
import { Windowed } from "../parts/windowed";
import { parameter, setParameters } from "../routes";
import { artifacts } from "../wire/clients";
import { useQuery } from "../wire/queries";

const DEPTH = 3;
const DEEPEST = 8;
const ROW = 28;
const MOST_INDENTS = 12;
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
      {value && value.edges.length > 0 && <Drawn reply={value} centre={versionId} isList={isList} />}
      {value?.truncated && <p class="hint">The graph is larger: fewer steps show a part of it whole.</p>}
    </>
  );
}

function Drawn({ reply, centre, isList }: { reply: GetLineageResponse; centre: string; isList: boolean }) {
  const graph = useMemo(() => graphOf(reply), [reply]);
  if (isList) return <List graph={graph} centre={centre} />;
  return (
    <>
      <div class="no-phone">
        <LineageMap graph={graph} centre={centre} key={centre} />
      </div>
      <div class="only-phone">
        <List graph={graph} centre={centre} />
      </div>
    </>
  );
}

/** Both directions as indented lists. */
function List({ graph, centre }: { graph: Graph; centre: string }) {
  return (
    <div class="box lin-list">
      <h2>Made from</h2>
      <Lines graph={graph} centre={centre} side="up" none="Nothing is known" />
      <h2>Used for</h2>
      <Lines graph={graph} centre={centre} side="down" none="Nothing yet" />
    </div>
  );
}

function Lines({ graph, centre, side, none }: { graph: Graph; centre: string; side: Side; none: string }) {
  const lines = useMemo(() => linesOf(graph, centre, side), [graph, centre, side]);
  if (!lines.length) return <p class="hint none-found">{none}</p>;
  return (
    <div class="tree">
      <Windowed
        as="ul"
        count={lines.length}
        height={ROW}
        row={(index) => {
          const line = lines[index];
          return (
            line && (
              <li key={line.node.id}>
                <a href={line.node.href}>
                  {Array.from({ length: Math.min(MOST_INDENTS, line.depth) }, (_, number) => (
                    <i class="indent" key={number} />
                  ))}
                  <span class="fold">{line.node.title}</span>
                  <span class="num">{line.node.second}</span>
                </a>
              </li>
            )
          );
        }}
      />
    </div>
  );
}
